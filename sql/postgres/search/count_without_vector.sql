select
    count(*) filter (where e.chunk_id is null) as lacking,
    count(*) as live
from chunks c
join documents d using (document_id)
left join document_embeddings e
    on e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and byteaeq(e.text_hash, c.text_hash)
where d.deleted_at is null
