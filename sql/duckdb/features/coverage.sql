with rows_of as (
    select entity_id, count(*) as rows from ({current}) group by entity_id
)
select
    count(live.entity_id),
    count(*) filter (where rows_of.entity_id is null),
    count(*) filter (where rows_of.rows > 1),
    count(*) filter (where live.entity_id is null)
from live_entities as live
full join rows_of using (entity_id)
