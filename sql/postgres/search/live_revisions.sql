-- The present revisions of live chunks: those of the documents that changed last, and others at random.
with live as (
    select chunk_id, changed_at from chunks join documents using (document_id) where deleted_at is null
), sample as (
    (select chunk_id from live order by changed_at desc limit %(size)s)
    union
    (select chunk_id from live order by random() limit %(size)s)
)
select c.chunk_id, index_revision(c.text_hash, d.fields_hash)
from sample
join chunks c using (chunk_id)
join documents d using (document_id)
