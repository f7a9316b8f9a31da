-- Tokens of the distinct texts that have no vector in this space yet.
select coalesce(sum(tokens), 0)::bigint as tokens
from (
    select max(token_count) as tokens
    from chunks c
    where c.collection = any(%(collections)s)
        and not exists (
            select from document_embeddings e where e.space_id = %(space_id)s and e.text_hash = c.text_hash
        )
    group by text_hash
) texts
