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
