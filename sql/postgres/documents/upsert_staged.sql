-- Write the staged documents that are new or differ, and log why.
with incoming as (
    select
        s.*,
        case
            when d.document_id is null then 'new'
            when d.deleted_at is not null then 'came back'
            when d.collection <> s.collection then 'moved from ' || d.collection
            when d.content_hash <> s.content_hash and d.text <> s.text then 'text'
            when d.content_hash <> s.content_hash then 'title, label or metadata'
        end as reason,
        d.document_id is null or d.deleted_at is not null as is_new
    from staged_contents s
    -- The limit keeps this a look-up for each: they are few, and the table has long rows.
    left join lateral (
        select document_id, collection, content_hash, text, deleted_at
        from documents
        where document_id = s.document_id
        limit 1
    ) d on true
    where s.collection = any(%(collections)s)
), written as (
    insert into documents (document_id, collection, title, text, label, url, group_id, metadata,
        content_hash, created_at)
    select document_id, collection, title, text, label, url, group_id, metadata, content_hash, created_at
    from incoming
    where reason is not null
    on conflict (document_id) do update
    set collection = excluded.collection, title = excluded.title, text = excluded.text,
        label = excluded.label, url = excluded.url, group_id = excluded.group_id,
        metadata = excluded.metadata, content_hash = excluded.content_hash,
        created_at = excluded.created_at, changed_at = now(), deleted_at = null
), logged as (
    insert into change_log (stage, collection, document_id, action, reason, run_id)
    select 'documents', collection, document_id,
        case when is_new then 'added' else 'changed' end, reason, %(run_id)s
    from incoming
    where reason is not null
)
select collection, coalesce(added, 0), coalesce(changed, 0), staged - coalesce(added, 0) - coalesce(changed, 0)
from (
    select collection, count(*) as staged
    from staged_documents
    where collection = any(%(collections)s)
    group by collection
) complete
left join (
    select collection, count(*) filter (where is_new) as added, count(*) filter (where not is_new) as changed
    from incoming
    where reason is not null
    group by collection
) differing using (collection)
