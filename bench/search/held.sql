-- name: add_chunks
insert into chunks
select *
from bench.chunks
where chunk_id = any(%(added)s)

-- name: add_documents
insert into documents (
    document_id, collection, title, text, label, url, group_id, metadata, content_hash, created_at,
    observed_at, changed_at, deleted_at, stored_hash, headings
)
select
    document_id, collection, title, text, label, url, group_id, metadata, content_hash, created_at,
    observed_at, changed_at, deleted_at, stored_hash, headings
from bench.documents
where document_id in (select document_id from bench.chunks where chunk_id = any(%(added)s))
on conflict do nothing

-- name: add_vectors
-- In the order in which `pending_texts.sql` has them written.
insert into document_embeddings
select *
from bench.vectors
where chunk_id = any(%(added)s)
order by text_hash, chunk_id

-- name: change_chunks
-- Chunks that keep their ids, and get the texts of others.
update chunks c
set
    heading = h.heading, path = h.path, text = h.text, text_hash = h.text_hash,
    token_count = h.token_count
from unnest(%(changed)s::text[], %(by)s::text[]) as pair (chunk_id, by)
join bench.chunks h on h.chunk_id = pair.by
where c.chunk_id = pair.chunk_id

-- name: change_vectors
update document_embeddings e
set text_hash = h.text_hash, embedding = h.embedding
from unnest(%(changed)s::text[], %(by)s::text[]) as pair (chunk_id, by)
join bench.vectors h on h.chunk_id = pair.by
where e.chunk_id = pair.chunk_id and e.space_id = h.space_id

-- name: create_held_out
-- What the bench has not put into the tables yet; `place` is a random order.
create schema bench;
create table bench.documents (like documents);
alter table bench.documents drop column fields_hash;
create table bench.chunks (like chunks);
create table bench.vectors (like document_embeddings)

-- name: index_held_out
alter table bench.documents add primary key (document_id);
alter table bench.chunks add primary key (chunk_id);
alter table bench.vectors add primary key (chunk_id);
create table bench.places as
select row_number() over (order by md5(chunk_id), chunk_id) as place, chunk_id
from bench.chunks
join bench.vectors using (chunk_id, text_hash);
alter table bench.places add primary key (place);
analyze bench.documents, bench.chunks, bench.vectors, bench.places

-- name: largest_space
select definition
from embedding_spaces s
order by (select count(*) from document_embeddings e where e.space_id = s.space_id) desc
limit 1

-- name: pick_live
select chunk_id
from chunks
order by md5(%(turn)s || chunk_id), chunk_id
limit %(size)s

-- name: read_documents
-- All columns but those that are generated.
select
    document_id, collection, title, text, label, url, group_id, metadata, content_hash,
    created_at, observed_at, changed_at, deleted_at, stored_hash, headings
from documents
where deleted_at is null

-- name: remove_chunks
delete from chunks where chunk_id = any(%(removed)s)

-- name: remove_vectors
delete from document_embeddings where chunk_id = any(%(removed)s)

-- name: take_held_out
-- The next ones of those that were held out.
delete from bench.places
where place in (select place from bench.places order by place limit %(size)s)
returning chunk_id
