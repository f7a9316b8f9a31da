-- What a model version is, on what it was trained, and how good it is, as Markdown.
alter table model_artifacts add column card text not null default '';
comment on column model_artifacts.card is 'empty: not written yet, or from before cards were';
