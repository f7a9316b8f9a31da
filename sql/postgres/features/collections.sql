-- The features of every collection, in the order of the view; one without a live document is removed.
with documents_seen as (
    select
        collection,
        count(*) as document_count,
        avg(length(text))::float8 as mean_characters,
        percentile_cont(0.5) within group (order by length(text))::float8 as median_characters,
        count(distinct label) as label_count,
        sum(hashtextextended(document_id || ' ' || encode(content_hash, 'hex'), 0)) as content
    from documents
    where deleted_at is null
    group by collection
), chunks_seen as (
    select collection, count(*) as chunk_count from chunks group by collection
), changes_seen as (
    select
        collection,
        count(*) filter (where action = 'added') as added,
        count(*) filter (where action = 'changed') as changed,
        count(*) filter (where action = 'removed') as removed,
        max(changed_at) as changed_time,
        max(change_id) as last
    from change_log
    where stage = 'documents'
    group by collection
), times as (
    select collection, max(changed_at) as changed_time from documents group by collection
)
select
    t.collection,
    null::timestamptz,
    coalesce(greatest(t.changed_time, l.changed_time), c.refreshed_at),
    case when d.collection is null then coalesce(greatest(t.changed_time, l.changed_time), c.refreshed_at) end,
    concat_ws(' ', d.content, l.last),
    d.document_count,
    case when d.collection is not null then coalesce(k.chunk_count, 0) end,
    d.mean_characters,
    d.median_characters,
    d.label_count,
    coalesce(l.added, 0),
    coalesce(l.changed, 0),
    coalesce(l.removed, 0)
from collections c
join times t using (collection)
left join documents_seen d using (collection)
left join chunks_seen k using (collection)
left join changes_seen l using (collection)
order by t.collection
