-- All inputs of collection features in one line.
with documents_seen as (
    select
        coalesce(sum(hashtextextended(concat_ws(' ', collection, document_id, encode(content_hash, 'hex')), 0))
            filter (where deleted_at is null), 0) as content,
        count(distinct collection) filter (where deleted_at is null) as live,
        max(changed_at) as changed_time
    from documents
), chunks_seen as (
    select coalesce(sum(hashtextextended(concat_ws(' ', collection, chunk_id), 0)), 0) as content from chunks
), changes_seen as (
    select coalesce(max(change_id), 0) as last, max(changed_at) as changed_time
    from change_log
    where stage = 'documents'
)
select
    d.live,
    encode(sha256(convert_to(concat_ws(' ', d.content, c.content, l.last), 'UTF8')), 'hex'),
    coalesce(greatest(d.changed_time, l.changed_time), to_timestamp(0))
from documents_seen d, chunks_seen c, changes_seen l
