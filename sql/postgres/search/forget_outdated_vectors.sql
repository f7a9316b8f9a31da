-- Vectors of a text that their chunk no longer has; `embeddings` replaces only those of the current space.
delete from document_embeddings e
using chunks c
where e.space_id = %(space_id)s and c.chunk_id = e.chunk_id and c.text_hash <> e.text_hash
