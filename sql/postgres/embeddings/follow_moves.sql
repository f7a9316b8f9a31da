update document_embeddings e
set collection = c.collection
from chunks c
where c.chunk_id = e.chunk_id
    and e.collection <> c.collection
    and e.space_id = %(space_id)s
    and c.collection = any(%(collections)s)
