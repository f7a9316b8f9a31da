-- The chunks whose vector is absent, or that of an earlier text, or of another collection. What follows
-- asks these few instead of all chunks.
insert into pending_vectors
select c.chunk_id, c.collection, c.text_hash, e.chunk_id is null, e.text_hash is not distinct from c.text_hash
from chunks c
left join document_embeddings e on e.chunk_id = c.chunk_id and e.space_id = %(space_id)s
where c.collection = any(%(collections)s)
    and (e.text_hash, e.collection) is distinct from (c.text_hash, c.collection)
