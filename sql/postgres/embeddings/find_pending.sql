-- The chunks whose vector is absent, or that of an earlier text, or of another collection. What follows
-- asks these few instead of all chunks. Created, not filled: only a query that writes no row is parallel.
create temp table pending_vectors as
select c.chunk_id, c.collection, c.text_hash,
    -- A vector of this chunk: is there none yet, and is it that of the present text?
    e.chunk_id is null as is_new,
    e.text_hash is not distinct from c.text_hash as is_current
from chunks c
left join document_embeddings e on e.chunk_id = c.chunk_id and e.space_id = %(space_id)s
where c.collection = any(%(collections)s)
    and (e.text_hash, e.collection) is distinct from (c.text_hash, c.collection)
