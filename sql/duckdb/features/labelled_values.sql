select dense_rank() over (order by label) - 1 as label, {columns}
from labels
join ({current}) using (entity_id)
order by entity_id
