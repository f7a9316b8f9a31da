-- name: aliases
-- In MLflow's database: the model that each alias of a registered model names, by its URI.
select a.alias, v.source
from registered_model_aliases a
join model_versions v on v.name = a.name and v.version = a.version
where a.name = %s

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
-- By the whole name: who may not use the schema is told so.
select store, name, checksum from ml_schema.migrations

-- name: move_artifacts
-- In MLflow's database: what lies below one location lies below another from now on.
with moved_runs as (
    update runs set artifact_uri = rtrim(%(new)s, '/') || substr(artifact_uri, length(rtrim(%(old)s, '/')) + 1)
    where starts_with(artifact_uri, rtrim(%(old)s, '/') || '/')
), moved_models as (
    update logged_models
    set artifact_location = rtrim(%(new)s, '/') || substr(artifact_location, length(rtrim(%(old)s, '/')) + 1)
    where starts_with(artifact_location, rtrim(%(old)s, '/') || '/')
), moved_versions as (
    update model_versions
    set storage_location = rtrim(%(new)s, '/') || substr(storage_location, length(rtrim(%(old)s, '/')) + 1)
    where starts_with(storage_location, rtrim(%(old)s, '/') || '/')
), moved_datasets as (
    update datasets
    set dataset_source_type = split_part(%(new)s, ':', 1),
        dataset_source = replace(
            dataset_source, '"' || rtrim(%(old)s, '/') || '/', '"' || rtrim(%(new)s, '/') || '/'
        )
    where strpos(dataset_source, '"' || rtrim(%(old)s, '/') || '/') > 0
)
update experiments set artifact_location = %(new)s where artifact_location = %(old)s

-- name: mlflow_is_used
-- In MLflow's database: whether it has more than the tables and the experiments of a new one.
select exists (select from runs) or exists (select from registered_models) or exists (select from logged_models)

-- name: experiment
-- In MLflow's database.
select creation_time, artifact_location from experiments where name = %s

-- name: prepare_load
-- Until the end of the transaction: names are qualified, and an HNSW index whose graph does not fit takes
-- many times as long to build.
set local search_path = '';
set local check_function_bodies = off;
set local client_min_messages = warning;
set local statement_timeout = 0;
set local maintenance_work_mem = '512MB'

-- name: columns
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type
from pg_attribute a
where a.attrelid = %(table)s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum

-- name: begin_session
-- By statements, not when connecting: a pooler drops the options of a connection, or refuses them. Joins of
-- cursors, which are read to their end, become slow when they are planned for their first tenth.
select
    set_config('search_path', concat_ws(', ', 'ml_schema', (
        select quote_ident(nspname)
        from pg_extension join pg_namespace n on n.oid = extnamespace
        where extname = 'vector'
    ), 'public'), false),
    set_config('timezone', 'UTC', false),
    set_config('jit', 'off', false),
    set_config('cursor_tuple_fraction', '1', false)

-- name: mark_session
-- The mark goes when the session ends, unless a pooler gives the session to the next client.
select set_config('ml_assets.client', 'here', false)

-- name: look_at_session
-- The server process behind a connection, and whether a client marked it that had it before.
select pg_backend_pid() as pid, coalesce(current_setting('ml_assets.client', true), '') <> '' as marked

-- name: find_pgvector
select
    quote_ident(nspname) as schema, extversion as version,
    has_schema_privilege(n.oid, 'usage') as usable, quote_ident(current_user) as role
from pg_extension join pg_namespace n on n.oid = extnamespace
where extname = 'vector'

-- name: has_ledger
-- Whether the tables are there, with checksums: without a privilege on them, too.
select exists (
    select
    from pg_attribute
    join pg_class c on c.oid = attrelid
    join pg_namespace n on n.oid = relnamespace
    where nspname = 'ml_schema' and relname = 'migrations' and attname = 'checksum'
)

-- name: rights
-- What the role of a connection may do; the schema and its owner are null when there is none yet.
select
    quote_ident(current_user) as role,
    quote_ident(current_database()) as database,
    (select quote_ident(pg_get_userbyid(nspowner)) from pg_namespace where nspname = 'ml_schema') as owner,
    coalesce((
        select
            has_schema_privilege(n.oid, 'usage') and coalesce(bool_and(has_table_privilege(c.oid, 'select')), true)
        from pg_namespace n
        left join pg_class c on relnamespace = n.oid and relkind in ('r', 'p')
        where nspname = 'ml_schema'
        group by n.oid
    ), true) as reads

-- name: gone_workers
-- Those of these workers whose lock no session holds. A lock's 64 bits are shown in two halves.
select worker
from unnest(%s::text[]) as worker
where not exists (
    select from pg_locks l join pg_database d on d.oid = l.database
    where l.locktype = 'advisory' and d.datname = current_database()
        and (l.classid::bigint << 32) | l.objid::bigint = hashtext('ml_assets.worker:' || worker)::bigint
)

-- name: notice_lost_hosts
-- The server gives up a session a minute after its host is gone. By itself it does after two hours.
select set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),
    set_config('tcp_keepalives_count', '3', false)

-- name: leaves
-- Every table of a schema that has rows of its own; of a partition its parent and the bound.
select
    n.nspname, c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid),
    exists (
        select
        from pg_index x
        join pg_class i on i.oid = x.indexrelid
        join pg_am a on a.oid = i.relam
        where x.indrelid = c.oid and a.amname in ('hnsw', 'ivfflat')
    )
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_inherits h on h.inhrelid = c.oid
left join pg_class p on p.oid = h.inhparent
where n.nspname = %(schema)s and c.relkind = 'r'
order by c.relname

-- name: indexes_of
-- Name, definition and, of a key, constraint of each index of a table.
select i.relname, pg_get_indexdef(i.oid), pg_get_constraintdef(k.oid)
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class c on c.oid = x.indrelid
join pg_namespace n on n.oid = c.relnamespace
left join pg_constraint k on k.conindid = i.oid and k.contype in ('p', 'u') and k.conrelid = c.oid
where n.nspname = %(schema)s and c.relname = %(table)s
order by i.relname

-- name: columns_named
-- The tables of a schema with a column of this name that have rows of their own.
select c.relname
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relkind = 'r' and a.attname = %(column)s and not a.attisdropped
order by c.relname

-- name: columns_of_text
-- The columns of a schema that hold text: table, column, and its type.
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and (
        format_type(a.atttypid, null) in ('text', 'json', 'jsonb', 'character varying', 'character', 'text[]')
    )
order by c.relname, a.attnum

-- name: written_columns
select a.attname
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = %(table)s and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum
