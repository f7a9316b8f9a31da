-- What serves which release, and who may ask it.
create table deployments (
    process_id uuid primary key,
    host text not null,
    pid integer not null,
    address text not null,
    version text not null,
    release_id bigint,
    since timestamptz not null,
    seen_at timestamptz not null default clock_timestamp()
);
comment on table deployments is 'one row per process that serves, and the release that it answers from';
comment on column deployments.release_id is 'null: nothing was published yet';
comment on column deployments.since is 'when it took that release over';

create table api_keys (
    key_id text primary key,
    name text not null,
    role text not null check (role in ('viewer', 'trainer', 'approver', 'admin')),
    scopes text[] not null,
    secret_hash bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null,
    revoked_at timestamptz,
    revoked_by text
);
comment on column api_keys.secret_hash is 'sha256 of a random secret of 256 bits, which is kept nowhere';

-- Who listens to ml_assets_service learns at the commit that there is something to look at.
create function notify_service() returns trigger language plpgsql as $$
begin
    perform pg_notify('ml_assets_service', tg_table_name);
    return null;
end $$;
create trigger releases_are_announced after insert on releases
    for each statement execute function notify_service();
create trigger keys_are_announced after insert or update or delete on api_keys
    for each statement execute function notify_service();
