-- Vectors go where their chunks went. Only those: an update of a row is an insert into the HNSW graph.
update document_embeddings e
set collection = p.collection
from pending_vectors p
where e.space_id = %(space_id)s and e.chunk_id = p.chunk_id and e.collection <> p.collection
