-- The ONNX form of a candidate's model: the sha256 (hex) of its file, or why there is none.
alter table experiments
    add column onnx_sha256 text not null default '',
    add column onnx_reason text not null default '';
