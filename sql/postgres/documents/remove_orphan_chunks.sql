-- Chunks of tombstoned documents.
with removed as (
    delete from chunks c
    using misplaced_chunks m
    where c.document_id = m.document_id and c.chunk_index = m.chunk_index and m.collection is null
    returning c.collection
)
select collection, count(*)::int from removed group by collection
