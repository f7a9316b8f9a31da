-- The mark that an index outside PostgreSQL carries since it was last written. Another mark in the
-- index itself: a backup was restored, here or there, or another host keeps an index of its own.
create table search_index_marks (
    generation_id text not null references search_generations on delete cascade,
    index_kind text not null check (index_kind in ('chroma', 'keyword')),
    mark text not null,
    primary key (generation_id, index_kind)
);
