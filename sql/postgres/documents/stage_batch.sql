-- Note which documents the source holds; return those that are new, or not as the table has them.
with staged as (
    insert into staged_documents (document_id, collection)
    select document_id, collection from staged_batch
)
select s.document_id
from staged_batch s
-- The limit keeps this a look-up for each: a hash of the whole table, for every batch, takes longer.
left join lateral (
    select content_hash, collection, deleted_at from documents d where d.document_id = s.document_id limit 1
) d on true
where (d.content_hash, d.collection) is distinct from (s.content_hash, s.collection)
    or d.deleted_at is not null
