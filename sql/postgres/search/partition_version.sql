select coalesce(encode(sha256(string_agg(convert_to(chunk_id, 'UTF8') || text_hash, '' order by chunk_id)), 'hex'), '')
from document_embeddings
where space_id = %(space_id)s
