-- name: chunk_ids
select number, chunk_id from entries where number in (select value from json_each(:numbers))

-- name: count_seen
-- The file's own version, free for use and changed with the rows, is the last number that training saw.
select count(*) from entries where number <= (select user_version from pragma_user_version)

-- name: create
-- What a FAISS index holds, and the file that it is in: both change in one transaction.
create table entries (
    number integer primary key,
    chunk_id text not null unique,
    revision blob not null,
    vector blob -- quantized to one byte a number; null where the index itself has the whole vector
);
create table state (
    one integer primary key check (one = 1),
    file text not null default '',
    mark text not null default ''
);
insert into state (one) values (1);

-- name: entries_of
select number, chunk_id, revision, vector
from entries
where chunk_id in (select value from json_each(:chunk_ids))

-- name: last_number
-- Given to a row ever, as far as it matters: those that training saw are not given again.
select max(user_version, coalesce((select max(number) from entries), 0)) from pragma_user_version

-- name: numbers
select number from entries where chunk_id in (select value from json_each(:chunk_ids))

-- name: remove
delete from entries where chunk_id in (select value from json_each(:chunk_ids)) returning number

-- name: revisions
select chunk_id, revision
from entries
where :chunk_ids is null or chunk_id in (select value from json_each(:chunk_ids))

-- name: sample
-- In the order of a hash: spread over all rows, and the same for the same rows.
select vector from entries order by number * 2654435761 % 4294967296 limit :size

-- name: vectors
select number, vector from entries where number in (select value from json_each(:numbers))
