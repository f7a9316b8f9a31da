-- Vectors, of any space, whose chunk is gone.
with removed as (
    delete from document_embeddings e
    where e.collection = any(%(collections)s)
        and not exists (select from chunks c where c.chunk_id = e.chunk_id)
    returning e.collection, e.space_id
)
select collection, count(*) filter (where space_id = %(space_id)s)::int from removed group by collection
