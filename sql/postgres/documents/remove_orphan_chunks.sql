-- Chunks of tombstoned documents.
with removed as (
    delete from chunks c
    using documents d
    where d.document_id = c.document_id
        and d.deleted_at is not null
        and d.collection = any(%(collections)s)
    returning c.collection
)
select collection, count(*)::int from removed group by collection
