-- The seed of the split that a version was trained on; null: registered before it was kept.
alter table model_artifacts add column seed bigint;
