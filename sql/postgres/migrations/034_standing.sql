alter table finished_run add column standing text;
comment on column finished_run.standing is 'how things stand, as JSON, for as long as nobody writes; null: it was not looked at since';
