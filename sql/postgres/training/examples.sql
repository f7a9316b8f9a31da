-- What a model sees of the documents of a training set: title and text, and the mean of the vectors of their
-- chunks (not normalised); with the hash of what it was made from.
select
    d.document_id,
    d.seen,
    encode(sha256(convert_to(d.seen, 'UTF8') || string_agg(c.text_hash, '\x'::bytea order by c.chunk_index)), 'hex')
        as text_hash,
    avg(e.embedding::vector) as embedding
from (
    select document_id, concat_ws(E'\n', nullif(title, ''), text) as seen
    from documents
    where deleted_at is null and document_id = any(%(document_ids)s)
) as d
join chunks as c on c.document_id = d.document_id
join document_embeddings as e
    on e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.text_hash = c.text_hash
group by d.document_id, d.seen
order by d.document_id collate "C"
