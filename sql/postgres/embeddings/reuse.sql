-- Give pending chunks the vector that an equal text already has in this space.
with known as materialized (
    select distinct on (c.chunk_id) c.chunk_id, c.collection, c.text_hash, e.embedding
    from chunks c
    join document_embeddings e on e.space_id = %(space_id)s and e.text_hash = c.text_hash
    where c.collection = any(%(collections)s)
        and not exists (
            select from document_embeddings own
            where own.space_id = %(space_id)s and own.chunk_id = c.chunk_id and own.text_hash = c.text_hash
        )
    order by c.chunk_id
)
insert into document_embeddings (space_id, chunk_id, collection, text_hash, embedding)
select %(space_id)s, chunk_id, collection, text_hash, embedding from known
on conflict (space_id, chunk_id) do update
set collection = excluded.collection, text_hash = excluded.text_hash, embedding = excluded.embedding,
    embedded_at = excluded.embedded_at
