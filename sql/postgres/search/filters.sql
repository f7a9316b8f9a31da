-- name: present_metadata
-- Of these keys with a type, those that a live document has; each stops at the first one.
select asked.key, asked.kind
from unnest(%(keys)s::text[], %(kinds)s::text[]) as asked (key, kind)
where exists (
    select from documents d
    where d.deleted_at is null and jsonb_typeof(d.metadata -> asked.key) = asked.kind
)

-- name: matching_chunks
select c.chunk_id from {chunks} c join documents d using (document_id) where {filter}

-- name: metadata_kinds
select item.key, array_agg(distinct jsonb_typeof(item.value) order by jsonb_typeof(item.value))
from documents d, jsonb_each(d.metadata) as item
where d.deleted_at is null
group by 1
order by 1
