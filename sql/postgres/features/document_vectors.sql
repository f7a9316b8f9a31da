-- One vector per live document, the mean of its chunks' vectors, and whether another has its text.
with texts as (
    select document_id, count(*) over (partition by sha256(convert_to(text, 'UTF8'))) > 1 as has_twin
    from documents
    where deleted_at is null
), means as (
    select c.document_id, avg(e.embedding::vector) as embedding
    from document_embeddings e
    join chunks c using (chunk_id, text_hash)
    where e.space_id = %(space_id)s
    group by c.document_id
)
select document_id, has_twin, embedding
from texts
join means using (document_id)
order by document_id
