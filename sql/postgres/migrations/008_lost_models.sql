-- A model that MLflow no longer has is trained again, in a row of its own: versions were made of the old one.
alter table experiments
    drop constraint experiments_status_check,
    drop constraint experiments_training_set_hash_family_fingerprint_key,
    add constraint experiments_status_check check (status in ('running', 'completed', 'failed', 'lost'));
create unique index experiments_trained_once on experiments (training_set_hash, family, fingerprint)
    where status <> 'lost';
comment on column model_artifacts.version is 'ours; in MLflow it is found by its run and the URI of its model';
