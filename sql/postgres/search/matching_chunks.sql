select c.chunk_id
from documents d
join chunks c using (document_id)
where {filter}
