-- The checks that failed in that run without blocking it, as [name, blocking, figures].
alter table finished_run add column warnings jsonb not null default '[]';
