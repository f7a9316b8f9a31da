insert into {table} by name
select entity_id, event_time, known_time, removed, value_hash, {columns}
from changes
where action in ('added', 'changed', 'removed')
order by entity_id
