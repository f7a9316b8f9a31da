-- Vectors, of any space, whose chunk is gone. Created, not filled: only a query that writes no row is
-- parallel.
create temp table orphaned_vectors as
select e.space_id, e.chunk_id
from document_embeddings e
where e.collection = any(%(collections)s)
    and not exists (select from chunks c where c.chunk_id = e.chunk_id)
