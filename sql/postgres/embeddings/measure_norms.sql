select min(l2_norm(embedding)), max(l2_norm(embedding))
from document_embeddings
where space_id = %(space_id)s
