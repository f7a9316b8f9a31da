-- What a training reported on its way (copied to ClickHouse by training_metrics), and where its model is.
alter table experiments
    add column if not exists history jsonb not null default '[]',
    add column if not exists model_uri text not null default '';
comment on column experiments.history is 'a list of [step, split, metric, value]';
