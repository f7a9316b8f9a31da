select definition
from embedding_spaces s
order by (select count(*) from document_embeddings e where e.space_id = s.space_id) desc
limit 1
