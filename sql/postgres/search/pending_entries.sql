-- Live, embedded chunks that the index does not hold in their present revision.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
select e.chunk_id
from {partition} e
join chunks c on c.chunk_id = e.chunk_id and byteaeq(c.text_hash, e.text_hash)
join documents d using (document_id)
left join search_index_entries l
    on l.generation_id = %(generation_id)s and l.index_kind = %(index_kind)s and l.chunk_id = e.chunk_id
where d.deleted_at is null
    and l.revision is distinct from index_revision(c.text_hash, d.title, d.label, d.collection, d.created_at, d.metadata)
order by 1
