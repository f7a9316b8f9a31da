select c.chunk_id, index_revision(c.text_hash, d.title, d.label, d.collection, d.created_at, d.metadata)
from chunks c
join documents d using (document_id)
where d.deleted_at is null
