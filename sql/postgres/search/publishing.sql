-- name: count_without_vector
select
    count(*) filter (where e.chunk_id is null) as lacking,
    count(*) as live
from chunks c
join documents d using (document_id)
left join document_embeddings e
    on e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.chunker = c.chunker
    and byteaeq(e.text_hash, c.text_hash)
where d.deleted_at is null

-- name: expired_generations
select generation_id
from search_generations
where state = 'retired'
    and retired_at <= now() - make_interval(secs => %(days)s * 86400)
order by retired_at

-- name: forget_outdated_vectors
-- Vectors of a text that their chunk no longer has; `embeddings` replaces only those of the current space.
delete from document_embeddings e
using chunks c
where e.space_id = %(space_id)s and c.chunk_id = e.chunk_id and c.text_hash <> e.text_hash

-- name: generations_of_space
select generation_id
from search_generations
where space_id = %(space_id)s and generation_id <> %(generation_id)s and state <> 'dropped'

-- name: list_generations
select
    g.generation_id, g.state, g.space_id, s.definition ->> 'model' as model, g.parameters, g.created_at,
    g.published_at, g.published_by, g.retired_at, g.withdrawn, coalesce(g.measured, g.evaluation) as measured,
    (
        select count(*) from search_index_entries e
        where e.generation_id = g.generation_id and e.index_kind = 'keyword'
    ) as chunks
from search_generations g
join embedding_spaces s using (space_id)
order by g.state <> 'published', coalesce(g.published_at, g.created_at) desc

-- name: published_before
-- The one that was served last before, and was not rolled back from.
select generation_id
from search_generations
where state in ('retired', 'dropped') and published_at is not null and withdrawn is null
order by retired_at desc, published_at desc
limit 1
