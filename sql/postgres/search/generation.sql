-- name: find_generation
select
    g.generation_id, g.space_id, s.dimension, g.parameters, g.state, g.evaluation, g.measured, g.withdrawn
from search_generations g
join embedding_spaces s using (space_id)
where (%(generation_id)s::text is null or g.generation_id = %(generation_id)s::text)
    and (%(state)s::text is null or g.state = %(state)s::text)

-- name: mark_published
update search_generations
set state = 'published', published_at = now(), published_by = %(actor)s, retired_at = null, withdrawn = null
where generation_id = %(generation_id)s

-- name: register_generation
-- One whose indexes were dropped is built again, and has to be measured again.
insert into search_generations (generation_id, space_id, parameters)
values (%(generation_id)s, %(space_id)s, %(parameters)s)
on conflict (generation_id) do update
set state = 'building', measured = null
where search_generations.state = 'dropped'

-- name: retire_published
update search_generations
set state = 'retired', retired_at = now(), withdrawn = %(withdrawn)s
where state = 'published'
