-- One fingerprint of the content of each collection: it changes when a document does.
select
    collection,
    encode(sha256(string_agg(convert_to(document_id, 'UTF8') || content_hash, '' order by document_id)), 'hex')
from documents
where collection = any(%(collections)s) and deleted_at is null
group by collection
