-- Texts with their vectors: the newest ones, and as many that a hash picks.
with sample as (
    (select chunk_id from document_embeddings where space_id = %(space_id)s
        order by embedded_at desc, chunk_id limit %(size)s)
    union
    (select chunk_id from document_embeddings where space_id = %(space_id)s
        order by md5(chunk_id), chunk_id limit %(size)s)
)
select c.chunk_id, case when c.heading = '' then c.text else c.heading || E'\n' || c.text end, e.embedding
from sample
join document_embeddings e using (chunk_id)
join chunks c using (chunk_id, text_hash)
where e.space_id = %(space_id)s
order by c.chunk_id
