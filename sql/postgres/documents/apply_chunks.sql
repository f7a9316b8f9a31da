-- Make the chunks of the staged documents exactly the staged chunks.
with removed as (
    delete from chunks c
    using staged_sources s
    where c.document_id = s.document_id
        and not exists (select from staged_chunks n where n.chunk_id = c.chunk_id)
    returning c.collection
), incoming as (
    select n.*, d.collection as owner, c.chunk_id is null as is_new,
        (c.start_offset, c.end_offset, c.token_count, c.text_hash, c.collection)
            is distinct from (n.start_offset, n.end_offset, n.token_count, n.text_hash, d.collection)
            as differs
    from staged_chunks n
    join documents d using (document_id)
    left join chunks c using (chunk_id)
), written as (
    insert into chunks (chunk_id, document_id, collection, chunk_index, start_offset, end_offset,
        token_count, heading, text, text_hash)
    select chunk_id, document_id, owner, chunk_index, start_offset, end_offset,
        token_count, heading, text, text_hash
    from incoming
    where differs
    on conflict (chunk_id) do update
    set collection = excluded.collection, start_offset = excluded.start_offset,
        end_offset = excluded.end_offset, token_count = excluded.token_count,
        heading = excluded.heading, text = excluded.text, text_hash = excluded.text_hash
), logged as (
    -- The document is as it was, and yet its chunks are made anew.
    insert into change_log (stage, collection, document_id, action, reason, run_id)
    select 'chunks', d.collection, d.document_id, 'changed', 'chunker ' || %(chunker)s, %(run_id)s
    from staged_sources s
    join documents d using (document_id)
    where d.chunked_hash = s.content_hash and d.chunker <> %(chunker)s
), marked as (
    update documents d
    set chunked_hash = s.content_hash, chunker = %(chunker)s
    from staged_sources s
    where d.document_id = s.document_id
)
select collection, sum(added)::int, sum(changed)::int, sum(removed)::int from (
    select owner as collection, (is_new)::int as added, (differs and not is_new)::int as changed, 0 as removed
    from incoming
    union all
    select collection, 0, 0, 1 from removed
) counts
group by collection
