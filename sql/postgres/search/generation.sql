-- name: chunkings
select distinct parameters -> 'chunking' as definition
from search_generations
where space_id = %(space_id)s and generation_id = any(%(generation_ids)s) and dropped_at is null
order by definition

-- name: find_generation
select
    g.generation_id, g.space_id, s.dimension, g.parameters, g.fusion,
    s.definition ->> 'model' as model, s.definition ->> 'weights_sha256' as weights,
    g.dropped_at is not null as dropped
from search_generations g
join embedding_spaces s using (space_id)
where g.generation_id = %(generation_id)s

-- name: register_generation
-- One whose indexes were dropped is built again, has to be measured again, and is kept for its time again. What
-- it is follows from its id: another hand's change is taken back.
insert into search_generations (generation_id, space_id, parameters)
values (%(generation_id)s, %(space_id)s, %(parameters)s)
on conflict (generation_id) do update
set space_id = excluded.space_id, parameters = excluded.parameters, dropped_at = null, measured = null,
    created_at = case when search_generations.dropped_at is null then search_generations.created_at else now() end
where search_generations.dropped_at is not null
    or (search_generations.space_id, search_generations.parameters) <> (excluded.space_id, excluded.parameters)

-- name: count_vectors
select count(*)
from {chunks} c
join {partition} e using (chunk_id)
where c.document_id = %(document_id)s
