-- Chunks whose document moved, or is gone: then its collection is null. Created, not filled: only a query
-- that writes no row is parallel.
create temp table misplaced_chunks as
select c.document_id, c.chunk_index, case when d.deleted_at is null then d.collection end as collection
from chunks c
join documents d using (document_id)
where d.collection = any(%(collections)s)
    and (d.deleted_at is not null or d.collection <> c.collection)
