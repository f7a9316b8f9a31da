-- One fingerprint of the content of each collection: it changes when a document does.
select
    collection,
    concat_ws(' ', count(*), sum(hashtextextended(document_id, hashbyteaextended(content_hash, 0))))
from documents
where collection = any(%(collections)s) and deleted_at is null
group by collection
