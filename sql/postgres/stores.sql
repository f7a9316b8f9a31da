-- name: create_ledger
-- The migrations of every store, with the sha256 of their text.
create table if not exists migrations (
    store text not null,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    primary key (store, name)
)

-- name: read_ledger
select store, name, checksum from migrations
