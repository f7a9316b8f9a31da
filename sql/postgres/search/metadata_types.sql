select held.key, jsonb_typeof(held.value)
from documents d, jsonb_each(d.metadata) as held
where d.deleted_at is null
group by 1, 2
order by 1, 2
