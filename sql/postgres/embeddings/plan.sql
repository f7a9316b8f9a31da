-- Chunks without a vector of their present text: distinct texts to encode, and vectors to copy.
with pending as (
    select c.text_hash, c.token_count,
        exists (
            select from document_embeddings e
            where e.space_id = %(space_id)s and e.text_hash = c.text_hash
        ) as known
    from chunks c
    where c.collection = any(%(collections)s)
        and not exists (
            select from document_embeddings e
            where e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.text_hash = c.text_hash
        )
)
select
    count(distinct text_hash) filter (where not known)::int as encode,
    (count(*) - count(distinct text_hash) filter (where not known))::int as reuse
from pending
