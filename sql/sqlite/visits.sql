-- name: create
-- Requests in a window of time, by who asks.
create table if not exists counters (
    name text primary key,
    amount integer not null,
    expires_at real not null
);
-- Sessions of the page, by the hash of what the cookie holds.
create table if not exists sessions (
    name text primary key,
    key_id text not null,
    expires_at real not null
);
