-- What a training reported on its way, epoch by epoch: copied to ClickHouse by training_metrics.
alter table experiments add column history jsonb not null default '[]';
comment on column experiments.history is 'a list of [step, split, metric, value]';
