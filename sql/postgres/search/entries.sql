select
    exists (
        select from search_index_entries l
        where l.generation_id = %(generation_id)s and l.index_kind = %(index_kind)s and l.chunk_id = e.chunk_id
    ),
    e.chunk_id,
    index_revision(c.text_hash, d.fields_hash),
    d.title,
    c.text,
    d.collection,
    d.label,
    (extract(epoch from d.created_at) * 1000000)::bigint,
    d.metadata,
    case when %(embeddings)s::boolean then e.embedding end
from {partition} e
join chunks c using (chunk_id, text_hash)
join documents d using (document_id)
where e.chunk_id = any(%(chunk_ids)s) and d.deleted_at is null
order by e.chunk_id
