-- The one that was served last before, and was not rolled back from.
select generation_id
from search_generations
where state in ('retired', 'dropped') and published_at is not null and withdrawn is null
order by retired_at desc, published_at desc
limit 1
