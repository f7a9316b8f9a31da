-- Chunks of tombstoned documents.
with removed as (
    delete from chunks c
    using misplaced_chunks m
    where c.chunk_id = m.chunk_id and m.collection is null
    returning c.collection
)
select collection, count(*)::int from removed group by collection
