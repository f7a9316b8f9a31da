-- The embedded online store: latest feature values, and caches with an end.
create table if not exists online_features (
    view text not null,
    entity_id text not null,
    revision text not null,
    features text not null,
    primary key (view, entity_id)
) without rowid;

create table if not exists cache (
    key text primary key,
    value text not null,
    expires_at real not null
) without rowid;
