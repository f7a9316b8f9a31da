-- The latest row of each entity that is not removed; two that are equally late both show.
from (from {table} qualify rank() over (partition by entity_id order by event_time desc, known_time desc) = 1)
where not removed
