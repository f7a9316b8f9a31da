-- What the run of a version tells: its `experiments` row has both.
alter table model_artifacts drop column uri, drop column training_set_hash;
