-- name: find_probe
select d.document_id, c.text, e.embedding
from {partition} e
join {chunks} c using (chunk_id)
join documents d using (document_id)
where d.deleted_at is null
order by e.chunk_id
limit 1

-- name: judged_documents
select document_id
from documents
where document_id = any(%(document_ids)s) and deleted_at is null

-- name: sample_vectors
-- The order by a hash is random, and the same for the same seed.
select e.chunk_id, e.embedding
from {partition} e
join {chunks} c using (chunk_id)
join documents d using (document_id)
where d.deleted_at is null
order by md5(%(seed)s || e.chunk_id), e.chunk_id
limit %(size)s

-- name: measurements
select measured, evaluation from search_generations where generation_id = %(generation_id)s

-- name: record_published
update search_generations
set evaluation = %(evaluation)s, fusion = %(fusion)s
where generation_id = %(generation_id)s
    and (evaluation, fusion) is distinct from (%(evaluation)s::jsonb, %(fusion)s::jsonb)
