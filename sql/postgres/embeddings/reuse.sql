-- Give pending chunks the vector that an equal text already has in this space.
with known as materialized (
    select distinct on (p.chunk_id) p.chunk_id, p.collection, p.text_hash, e.embedding
    from pending_vectors p
    join document_embeddings e on e.space_id = %(space_id)s and e.text_hash = p.text_hash
    where not p.is_current
    order by p.chunk_id
)
insert into document_embeddings (space_id, chunk_id, collection, text_hash, embedding)
select %(space_id)s, chunk_id, collection, text_hash, embedding from known
on conflict (space_id, chunk_id) do update
set collection = excluded.collection, text_hash = excluded.text_hash, embedding = excluded.embedding,
    embedded_at = excluded.embedded_at
