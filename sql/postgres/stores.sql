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

-- name: columns
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type
from pg_attribute a
where a.attrelid = %(table)s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
