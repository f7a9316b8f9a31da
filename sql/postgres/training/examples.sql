-- What a model sees of the documents of a training set: title and text, and the mean of the vectors of their
-- chunks (not normalised); with the hash of what it was made from.
-- The hashes of the texts are compared after the join: in it, they make the planner expect a single row.
with wanted as (
    select d.document_id, concat_ws(E'\n', nullif(d.title, ''), d.text) as seen
    from documents as d
    join unnest(%(document_ids)s::text[]) as asked (document_id) using (document_id)
    where d.deleted_at is null
)
select
    wanted.document_id,
    wanted.seen,
    encode(
        sha256(
            convert_to(wanted.seen, 'UTF8')
            || string_agg(c.text_hash, '\x'::bytea order by c.chunk_index)
        ),
        'hex'
    ) as text_hash,
    avg(e.embedding::vector) as embedding
from wanted
join chunks as c using (document_id)
join document_embeddings as e on e.space_id = %(space_id)s and e.chunk_id = c.chunk_id
group by wanted.document_id, wanted.seen
having bool_and(e.text_hash = c.text_hash)
order by wanted.document_id collate "C"
