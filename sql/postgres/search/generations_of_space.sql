select generation_id
from search_generations
where space_id = %(space_id)s and generation_id <> %(generation_id)s and state <> 'dropped'
