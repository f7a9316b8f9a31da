-- A candidate that is chosen is fitted anew on all rows, and serves so; its macro-F1 is known with its noise; a family
-- that cannot be fitted is left out.
alter table experiments
    drop constraint experiments_status_check,
    add constraint experiments_status_check
        check (status in ('running', 'completed', 'failed', 'lost', 'left out')),
    add column refitted_uri text not null default '',
    add column resampled jsonb not null default '[]',
    add column reason text not null default '';
comment on column experiments.model_uri is 'the model that was measured on the test split, which it has not seen';
comment on column experiments.refitted_uri is 'the model that serves, fitted on all rows; empty: the candidate was not chosen, and model_uri serves';
comment on column experiments.onnx_sha256 is 'of the file of the ONNX form of the model that serves, in hex; empty: onnx_reason says why there is none';
comment on column experiments.resampled is 'macro-F1 out of fold on draws of the documents, which are the same for all candidates of a training set';
comment on column experiments.reason is 'why a family was left out';
