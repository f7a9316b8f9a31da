-- The text of the documents of a training set, and the mean of their chunks' vectors (not normalised).
select
    d.document_id,
    d.text,
    encode(sha256(convert_to(d.text, 'UTF8') || string_agg(c.text_hash, '\x'::bytea order by c.chunk_index)), 'hex')
        as text_hash,
    avg(e.embedding) as embedding
from documents as d
join chunks as c on c.document_id = d.document_id
join document_embeddings as e
    on e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.text_hash = c.text_hash
where d.deleted_at is null and d.document_id = any(%(document_ids)s)
group by d.document_id
order by d.document_id collate "C"
