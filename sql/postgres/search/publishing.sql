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

-- name: forget_generation
-- Its row stays, with its measurements.
with entries as (
    delete from search_index_entries where generation_id = %(generation_id)s
), marks as (
    delete from search_index_marks where generation_id = %(generation_id)s
)
update search_generations set dropped_at = now() where generation_id = %(generation_id)s

-- name: generations_of_space
select generation_id
from search_generations
where space_id = %(space_id)s and generation_id <> %(generation_id)s and dropped_at is null

-- name: kept_of
-- Those of some generations that have their indexes, in the same order.
select generation_id
from search_generations
where generation_id = any(%(generation_ids)s) and dropped_at is null
order by array_position(%(generation_ids)s, generation_id)

-- name: list_generations
select
    g.generation_id, g.space_id, s.definition ->> 'model' as model, g.parameters, g.created_at,
    g.dropped_at is not null as dropped,
    (
        select count(*) from search_index_entries e
        where e.generation_id = g.generation_id and e.index_kind = 'keyword'
    ) as chunks
from search_generations g
join embedding_spaces s using (space_id)
order by g.created_at desc
