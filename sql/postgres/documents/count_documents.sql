-- Count the live documents of each collection, and return one fingerprint of their content: it changes when
-- a document does. One scan for both.
with counted as (
    select
        collection,
        count(*) as documents,
        sum(hashtextextended(document_id, hashbyteaextended(content_hash, 0))) as content
    from documents
    where collection = any(%(collections)s) and deleted_at is null
    group by collection
)
update collections c
set document_count = coalesce(n.documents, 0)
from collections o
left join counted n using (collection)
where c.collection = any(%(collections)s) and o.collection = c.collection
returning c.collection, concat_ws(' ', n.documents, n.content)
