select d.document_id, c.text, e.embedding
from {partition} e
join chunks c using (chunk_id)
join documents d using (document_id)
where d.deleted_at is null
order by e.chunk_id
limit 1
