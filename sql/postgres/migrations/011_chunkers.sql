-- Chunks of several chunkers stand beside each other: those that the settings describe, and those of search
-- generations that are kept. Each follows the documents by marks of its own.
create table chunkers (
    chunker text primary key,
    is_current boolean not null,
    is_followed boolean not null check (is_followed or not is_current)
);
create unique index chunkers_current on chunkers (is_current) where is_current;
comment on column chunkers.is_current is 'described by the settings of the last run: features and models are made of its chunks';
comment on column chunkers.is_followed is 'its chunks and vectors follow the documents; of another, those of a document that changes go';

create table chunked_documents (
    chunker text not null references chunkers on delete cascade,
    document_id text not null references documents on delete cascade,
    content_hash bytea not null,
    chunk_count integer not null,
    primary key (document_id, chunker) include (content_hash)
);
comment on column chunked_documents.content_hash is 'the content that the chunks were made from; stale: chunk it again';
comment on column chunked_documents.chunk_count is 'how many chunks were made of it';

insert into chunkers (chunker, is_current, is_followed)
select chunker, number = 1, number = 1
from (
    select chunker, row_number() over (order by count(*) desc, chunker) as number
    from documents
    where chunker is not null
    group by chunker
) as known;
insert into chunked_documents (chunker, document_id, content_hash, chunk_count)
select chunker, document_id, chunked_hash, coalesce(chunk_count, 0)
from documents
where chunker is not null and chunked_hash is not null and deleted_at is null;
alter table documents drop column chunked_hash, drop column chunker, drop column chunk_count;

create view current_chunks as
select * from chunks where chunker = (select chunker from chunkers where is_current);

-- A generation reads the chunks of one chunker, and has its index of vectors on those alone.
update search_generations
set parameters = jsonb_set(parameters, '{chunking}', jsonb_build_object(
        'chunker', coalesce((select chunker from chunkers where is_current), 'none')
    ));
do $$
declare
    index regclass;
begin
    for index in
        select i.indexrelid
        from pg_index as i
        join pg_class as c on c.oid = i.indexrelid
        join pg_am as a on a.oid = c.relam
        join pg_inherits as h on h.inhrelid = i.indrelid
        where h.inhparent = 'document_embeddings'::regclass and a.amname in ('hnsw', 'ivfflat')
    loop
        execute format('drop index %s', index);
    end loop;
end $$;
