select entity_id, {columns}
from ({current})
where entity_id in (select unnest($entity_ids))
