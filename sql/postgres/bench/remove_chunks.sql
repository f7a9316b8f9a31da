delete from chunks where chunk_id = any(%(removed)s)
