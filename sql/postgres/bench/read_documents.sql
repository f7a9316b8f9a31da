-- All columns but those that are generated.
select
    document_id, collection, title, text, label, url, group_id, metadata, content_hash,
    created_at, observed_at, changed_at, deleted_at, chunked_hash, chunker
from documents
where deleted_at is null
