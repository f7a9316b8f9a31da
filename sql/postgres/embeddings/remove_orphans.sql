with removed as (
    delete from document_embeddings e
    using orphaned_vectors o
    where e.space_id = o.space_id and e.chunk_id = o.chunk_id
    returning e.collection, e.space_id
)
select collection, count(*) filter (where space_id = %(space_id)s)::int from removed group by collection
