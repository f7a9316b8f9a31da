-- What the service took of its GPU in a minute; null: it uses none.
alter table request_log add column if not exists gpu_percent Nullable(Float64);

alter table request_log add column if not exists gpu_memory_mib Nullable(Float64);
