-- name: collections
select distinct collection from documents where deleted_at is null order by 1

-- name: labels
select distinct label from documents where deleted_at is null and label is not null order by 1 limit 10000

-- name: present_collections
-- Of these, those of a live document; each stops at the first one.
select value
from unnest(%(values)s::text[]) as asked (value)
where exists (select from documents d where d.deleted_at is null and d.collection = asked.value)

-- name: present_labels
-- Of these, those of a live document; each stops at the first one.
select value
from unnest(%(values)s::text[]) as asked (value)
where exists (select from documents d where d.deleted_at is null and d.label = asked.value)

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

-- name: matching_documents
select d.document_id from documents d where {filter} order by d.document_id
