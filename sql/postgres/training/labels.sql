select document_id, label
from documents
where deleted_at is null and label is not null and document_id = any(%(document_ids)s)
