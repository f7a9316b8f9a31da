select generation_id, space_id, state, created_at, published_at, evaluation
from search_generations
order by created_at desc
limit 5
