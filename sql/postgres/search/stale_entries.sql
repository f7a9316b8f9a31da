-- Chunks that the index holds, and that are gone, dead, or wait for the vector of their present text.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
select l.chunk_id
from search_index_entries l
where l.generation_id = %(generation_id)s
    and l.index_kind = %(index_kind)s
    and not exists (
        select
        from {partition} e
        join chunks c on c.chunk_id = e.chunk_id and byteaeq(c.text_hash, e.text_hash)
        join documents d using (document_id)
        where e.chunk_id = l.chunk_id and d.deleted_at is null
    )
order by 1
