-- Tokens of the distinct texts among the pending ones that have no vector in this space yet.
select coalesce(sum(tokens), 0)::bigint as tokens
from (
    select max(token_count) as tokens
    from pending_vectors p
    join chunks c using (chunk_id, text_hash)
    where not p.is_current and not exists (
        select from document_embeddings e where e.space_id = %(space_id)s and e.text_hash = p.text_hash
    )
    group by text_hash
) texts
