-- name: create_ledger
-- The migrations of every store, with the sha256 of their text.
create table if not exists migrations (
    store text not null,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    primary key (store, name)
);
alter table migrations
    add column if not exists store text not null default 'postgres',
    add column if not exists checksum text not null default ''

-- name: read_ledger
select store, name, checksum from migrations
