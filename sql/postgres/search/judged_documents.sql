select document_id, collection, label, created_at, metadata
from documents
where document_id = any(%(document_ids)s) and deleted_at is null
