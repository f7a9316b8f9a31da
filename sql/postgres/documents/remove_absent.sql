-- Tombstone what a complete read no longer holds; the text goes, the id stays.
with removed as (
    update documents d
    set deleted_at = now(), changed_at = now(), title = '', text = '', label = null, url = null,
        metadata = '{}', content_hash = '', chunked_hash = null, chunker = null
    from absent_documents a
    where d.document_id = a.document_id and a.collection = any(%(collections)s)
    returning d.collection, d.document_id
), logged as (
    insert into change_log (stage, collection, document_id, action, reason, run_id)
    select 'documents', collection, document_id, 'removed', 'left the source', %(run_id)s from removed
)
select collection, count(*) from removed group by collection
