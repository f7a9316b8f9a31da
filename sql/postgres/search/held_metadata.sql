-- Of these keys with a type, those that a live document has; each stops at the first one.
select asked.key, asked.kind
from unnest(%(keys)s::text[], %(kinds)s::text[]) as asked (key, kind)
where exists (
    select from documents d
    where d.deleted_at is null and jsonb_typeof(d.metadata -> asked.key) = asked.kind
)
