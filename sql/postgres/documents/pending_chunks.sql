select document_id, title, text, content_hash
from documents
where collection = any(%(collections)s)
    and deleted_at is null
    and (chunked_hash, chunker) is distinct from (content_hash, %(chunker)s)
order by document_id
