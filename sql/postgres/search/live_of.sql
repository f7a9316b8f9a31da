-- Of the nearest, those that are live.
with nearest as materialized (
    {nearest}
)
select n.chunk_id, n.distance
from nearest n
join chunks c on c.chunk_id = n.chunk_id
join documents d on d.document_id = c.document_id
where d.deleted_at is null
