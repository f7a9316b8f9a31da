select
    g.generation_id, g.space_id, s.dimension, g.parameters, g.state, g.evaluation, g.measured, g.withdrawn
from search_generations g
join embedding_spaces s using (space_id)
where (%(generation_id)s::text is null or g.generation_id = %(generation_id)s::text)
    and (%(state)s::text is null or g.state = %(state)s::text)
