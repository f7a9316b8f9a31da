-- Requests in a window of time, by who asks.
create table counters (
    name text primary key,
    amount integer not null,
    expires_at real not null
);
