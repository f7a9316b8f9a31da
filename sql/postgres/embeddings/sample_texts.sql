-- Texts with their vectors: the newest ones, and as many that a hash picks.
with pairs as (
    select c.chunk_id, e.embedded_at, e.embedding,
        case when c.heading = '' then c.text else c.heading || E'\n' || c.text end as embedded_text
    from document_embeddings e
    join chunks c using (chunk_id, text_hash)
    where e.space_id = %(space_id)s
)
(select chunk_id, embedded_text, embedding from pairs order by embedded_at desc, chunk_id limit %(size)s)
union
(select chunk_id, embedded_text, embedding from pairs order by md5(chunk_id), chunk_id limit %(size)s)
order by chunk_id
