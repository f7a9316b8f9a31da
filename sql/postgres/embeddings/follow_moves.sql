-- Vectors go where their chunks went.
update document_embeddings e
set collection = p.collection
from pending_vectors p
where e.space_id = %(space_id)s and e.chunk_id = p.chunk_id and not p.is_new
