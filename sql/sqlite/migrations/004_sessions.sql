-- Sessions of the page, by the hash of what the cookie holds.
create table sessions (
    name text primary key,
    key_id text not null,
    expires_at real not null
);
