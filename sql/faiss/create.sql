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
