-- The state that the last run ended well on; no row while a run is at work, or when it failed.
create table finished_run (
    one boolean primary key default true check (one),
    state text not null,
    changes bigint not null,
    finished_at timestamptz not null default now()
);
