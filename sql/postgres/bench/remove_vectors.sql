delete from document_embeddings where chunk_id = any(%(removed)s)
