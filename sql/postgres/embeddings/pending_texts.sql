-- The distinct texts that have no vector in this space yet, shortest first: batches of like length
-- waste no padding.
select text_hash, max(case when heading = '' then text else heading || E'\n' || text end) as embedded_text,
    count(*) over ()::int as total
from pending_vectors p
join chunks c using (chunk_id, text_hash)
where not p.is_current and not exists (
    select from document_embeddings e where e.space_id = %(space_id)s and e.text_hash = p.text_hash
)
group by text_hash
order by max(token_count), text_hash
