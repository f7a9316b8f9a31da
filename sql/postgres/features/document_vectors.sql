-- One vector per live document: the mean of its chunks' vectors.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
select c.document_id, avg(e.embedding::vector)
from document_embeddings e
join chunks c on c.chunk_id = e.chunk_id and byteaeq(c.text_hash, e.text_hash)
where e.space_id = %(space_id)s
    and exists (select from documents d where d.document_id = c.document_id and d.deleted_at is null)
group by c.document_id
order by c.document_id
