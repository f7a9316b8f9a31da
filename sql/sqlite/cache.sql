-- name: create
-- A value that is written again gets a new number, so the numbers tell the order of writing.
create table if not exists cache (
    number integer primary key,
    key text not null unique,
    ends integer not null,
    value blob not null
);
create index if not exists cache_ends on cache (ends);

-- name: forget
delete from cache where key in (select value from json_each(?))

-- name: forget_ended
-- Some at a time, so that no writer waits for long.
delete from cache where number in (select number from cache where ends <= ? order by ends limit 200)

-- name: forget_first
delete from cache where number <= (select max(number) from cache) - ?

-- name: read
select key, value from cache where key in (select value from json_each(?))

-- name: write
insert or replace into cache (key, ends, value) values (?, ?, ?)
