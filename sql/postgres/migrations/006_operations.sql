-- The state that the last run ended well on; no row while a run is at work, or when it failed.
create table finished_run (
    one boolean primary key default true check (one),
    state text not null,
    changes bigint not null,
    warnings jsonb not null default '[]',
    finished_at timestamptz not null default now()
);
comment on column finished_run.warnings is 'the checks that failed without blocking: [name, blocking, numbers]';
