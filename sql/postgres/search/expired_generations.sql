select generation_id
from search_generations
where state = 'retired'
    and retired_at <= now() - make_interval(secs => %(days)s * 86400)
order by retired_at
