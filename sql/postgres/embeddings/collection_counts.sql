select collection, count(*)::int
from document_embeddings
where space_id = %(space_id)s and collection = any(%(collections)s)
group by collection
