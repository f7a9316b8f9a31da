-- name: activity
-- What every collection holds and how it changed: the values of the feature view `collection_activity`, in its
-- order. One without a live document is removed.
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
    select collection, count(*) as chunk_count from current_chunks group by collection
), changes_seen as (
    select
        collection,
        count(*) filter (where action = 'added') as added,
        count(*) filter (where action = 'changed') as changed,
        count(*) filter (where action = 'removed') as removed,
        count(*) as changes,
        max(changed_at) as changed_time
    from change_log
    where stage = 'documents'
    group by collection
), times as (
    select collection, max(changed_at) as changed_time from documents group by collection
)
select
    t.collection,
    null::timestamptz,
    greatest(t.changed_time, l.changed_time),
    case when d.collection is null then greatest(t.changed_time, l.changed_time) end,
    concat_ws(' ', d.content, l.changes),
    d.document_count,
    case when d.collection is not null then coalesce(k.chunk_count, 0) end,
    d.mean_characters,
    d.median_characters,
    d.label_count,
    coalesce(l.added, 0),
    coalesce(l.changed, 0),
    coalesce(l.removed, 0)
from times t
left join documents_seen d using (collection)
left join chunks_seen k using (collection)
left join changes_seen l using (collection)
order by t.collection

-- name: activity_state
-- All that `activity` is made of, in one line.
with documents_seen as (
    select
        coalesce(sum(hashtextextended(concat_ws(' ', collection, document_id, encode(content_hash, 'hex')), 0))
            filter (where deleted_at is null), 0) as content,
        count(distinct collection) filter (where deleted_at is null) as live,
        max(changed_at) as changed_time
    from documents
), chunks_seen as (
    select coalesce(sum(hashtextextended(concat_ws(' ', collection, chunk_id), 0)), 0) as content from current_chunks
), changes_seen as (
    -- Not the highest number: see `count_changes`.
    select count(*) as changes, max(changed_at) as changed_time
    from change_log
    where stage = 'documents'
)
select
    d.live as entities,
    encode(sha256(convert_to(concat_ws(' ', d.content, c.content, l.changes), 'UTF8')), 'hex') as state_hash,
    coalesce(greatest(d.changed_time, l.changed_time), to_timestamp(0)) as state_time
from documents_seen d, chunks_seen c, changes_seen l

-- name: apply_chunks
-- Make the chunks that a chunker makes of the staged documents exactly the staged chunks.
with removed as (
    delete from chunks c
    using staged_sources s
    where c.chunker = %(chunker)s and c.document_id = s.document_id
        and not exists (select from staged_chunks n where n.chunk_id = c.chunk_id)
    returning c.collection
), incoming as (
    select n.*, d.collection as owner, coalesce(d.created_at, '-infinity') as dated, c.chunk_id is null as is_new,
        (c.start_offset, c.end_offset, c.token_count, c.heading, c.path, c.text, c.text_hash, c.collection)
            is distinct from (
                n.start_offset, n.end_offset, n.token_count, n.heading, n.path, n.text, n.text_hash, d.collection
            )
            as differs,
        c.created_at is distinct from coalesce(d.created_at, '-infinity') as moves
    from staged_chunks n
    join documents d using (document_id)
    left join chunks c on c.chunk_id = n.chunk_id and c.chunker = %(chunker)s
), added as (
    insert into chunks (chunker, created_at, chunk_id, document_id, collection, chunk_index, start_offset,
        end_offset, token_count, heading, path, text, text_hash)
    select %(chunker)s, dated, chunk_id, document_id, owner, chunk_index, start_offset,
        end_offset, token_count, heading, path, text, text_hash
    from incoming
    where is_new
), changed as (
    -- Of another time: the row goes to that partition.
    update chunks c
    set created_at = n.dated, collection = n.owner, start_offset = n.start_offset,
        end_offset = n.end_offset, token_count = n.token_count, heading = n.heading, path = n.path,
        text = n.text, text_hash = n.text_hash
    from incoming n
    where c.chunker = %(chunker)s and c.chunk_id = n.chunk_id and not n.is_new and (n.differs or n.moves)
), logged as (
    -- The document is as it was, and yet chunks are made of it anew. The current chunker is the first of a
    -- run: those beside it say nothing that it did not say.
    insert into change_log (stage, collection, document_id, action, reason, run_id)
    select 'chunks', d.collection, d.document_id, 'changed', 'chunker ' || %(chunker)s, %(run_id)s
    from staged_sources s
    join documents d using (document_id)
    where exists (
            select from chunked_documents m
            where m.document_id = s.document_id and m.content_hash = s.content_hash
        )
        and not exists (
            select from chunked_documents m where m.document_id = s.document_id and m.chunker = %(chunker)s
        )
        and exists (select from chunkers where chunker = %(chunker)s and is_current)
), marked as (
    insert into chunked_documents (chunker, document_id, content_hash, chunk_count)
    select %(chunker)s, s.document_id, s.content_hash,
        (select count(*) from staged_chunks n where n.document_id = s.document_id)
    from staged_sources s
    on conflict (document_id, chunker) do update
    set content_hash = excluded.content_hash, chunk_count = excluded.chunk_count
)
select collection, sum(added)::int as added, sum(changed)::int as changed, sum(removed)::int as removed from (
    select owner as collection, (is_new)::int as added, (differs and not is_new)::int as changed, 0 as removed
    from incoming
    union all
    select collection, 0, 0, 1 from removed
) counts
group by collection

-- name: chunk_versions
select
    collection,
    count(*)::int as count,
    concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hash_record_extended(row(text_hash), 0)))) as content
from chunks
where collection = any(%(collections)s) and chunker = any(%(chunkers)s)
group by collection

-- name: collections
select collection, source, document_count as documents, fingerprint, refreshed_at, read_error, failed_at
from collections
order by collection

-- name: count_changes
-- Not the highest number: of two transactions the one with the lower numbers may commit later.
select count(*) as changes from change_log

-- name: in_scripts
-- How many live documents have at least as many letters of the scripts as of others, and the id of one. What takes
-- little more than a byte for each character has few letters but Latin ones, and is not looked at.
with said as materialized (
    select document_id, left(title || ' ' || text, %(characters)s) as said from documents
    where deleted_at is null and octet_length(title || text) > 1.2 * length(title || text)
)
select count(*) as documents, coalesce(min(document_id), '') as example, %(model)s as model from said
where 2 * length(regexp_replace(said, %(others)s, '', 'g')) >= greatest(length(regexp_replace(said, %(signs)s, '', 'g')), 1)

-- name: count_followed
select count(*) as chunks from chunks where chunker in (select chunker from chunkers where is_followed)

-- name: count_rejections
-- One statement removes and writes: a row that it has written is not removed, as the delete sees what was there
-- before, and passes over what was updated since.
with gone as (
    delete from rejected_counts
    where collection = any(%(collections)s) or (collection = '' and %(heard)s)
)
insert into rejected_counts
select collection, count(*)
from rejected_documents
where collection = any(%(collections)s) or collection = ''
group by collection
on conflict (collection) do update
set rejected = excluded.rejected

-- name: count_documents
-- Count the live documents of each collection, and return one fingerprint of their content: it changes when
-- a document does. One scan for both.
with counted as (
    select
        collection,
        count(*) as documents,
        sum(hashtextextended(document_id, hash_record_extended(row(content_hash), 0))) as content
    from documents
    where collection = any(%(collections)s) and deleted_at is null
    group by collection
), present as (
    select c.collection, coalesce(n.documents, 0) as count, concat_ws(' ', n.documents, n.content) as content
    from collections c
    left join counted n using (collection)
    where c.collection = any(%(collections)s)
), noted as (
    update collections c
    set document_count = p.count
    from present p
    where p.collection = c.collection and c.document_count <> p.count
)
select collection, count, content from present

-- name: counts
select
    (select count(*) from collections where fingerprint <> '')::int as collections,
    d.documents,
    d.tombstones,
    (select count(*) from rejected_documents)::int as rejected,
    (select count(*) from current_chunks)::int as chunks
from (
    select
        count(*) filter (where deleted_at is null)::int as documents,
        count(*) filter (where deleted_at is not null)::int as tombstones
    from documents
) d

-- name: create_chunk_staging
create temp table if not exists staged_chunks as
select chunk_id, document_id, chunk_index, start_offset, end_offset, token_count, heading, text, path,
    text_hash
from chunks
with no data;
create temp table if not exists staged_sources (document_id text primary key, content_hash bytea not null)

-- name: create_staging
create temp table if not exists staged_batch (
    document_id text not null,
    collection text not null,
    content_hash bytea not null
);
create temp table if not exists staged_documents (document_id text primary key, collection text not null);
-- Those of them that are new, or not as the table has them.
create temp table if not exists staged_contents (
    document_id text primary key,
    collection text not null,
    content_hash bytea not null,
    title text not null,
    text text not null,
    label text,
    url text,
    group_id text not null,
    metadata jsonb not null,
    created_at timestamptz,
    headings jsonb not null
);
create temp table if not exists staged_rejections (
    collection text not null,
    location text not null,
    document_id text,
    reason text not null
);
-- Live documents that the source no longer holds.
create temp table if not exists absent_documents (document_id text primary key, collection text not null);
truncate staged_documents, staged_contents, staged_rejections, absent_documents;

-- name: damaged_chunks
-- Texts are compared for the documents that changed last and as many at random, or for all (null): cutting
-- the pieces of all out of their documents takes as long as a run that changes little.
with compared as (
    (select document_id from documents where deleted_at is null order by changed_at desc limit %(compared)s)
    union
    (select document_id from documents where deleted_at is null order by random() limit %(compared)s)
), counted as (
    select document_id, chunker, count(*) as chunks from chunks group by document_id, chunker
)
select
    case
        when d.document_id is null then 'chunks_without_document'
        when c.chunks is null then 'documents_without_chunks'
        else 'documents_with_another_number_of_chunks'
    end as problem,
    coalesce(d.document_id, c.document_id) as name
from (
    -- Every followed chunker cuts every live document; of another, some may be left.
    select document_id, chunker, m.chunk_count
    from documents
    cross join chunkers
    left join chunked_documents m using (document_id, chunker)
    where deleted_at is null and (is_followed or m.document_id is not null)
) d
full join counted c using (document_id, chunker)
where d.document_id is null or c.chunks is null or c.chunks is distinct from d.chunk_count
union all
select 'chunks_unlike_their_text', c.chunk_id
from compared
join documents d using (document_id)
join chunks c using (document_id)
where is_altered(c, d)

-- name: damaged_documents
-- What another hand did to the documents since they were read; contents are compared as texts of chunks are.
with compared as (
    (select document_id from documents where deleted_at is null order by changed_at desc limit %(compared)s)
    union
    (select document_id from documents where deleted_at is null order by random() limit %(compared)s)
)
select 'documents_with_an_empty_id' as problem, document_id as name
from documents
where trim(document_id) = ''
union all
select 'altered_documents', document_id
from compared
join documents d using (document_id)
where is_altered(d)
union all
select 'collections_with_another_number_of_documents', collection
from collections c
left join (
    select collection, count(*) as documents from documents where deleted_at is null group by collection
) n using (collection)
where c.document_count <> coalesce(n.documents, 0)

-- name: damaged_rejections
-- What another hand did to the quarantined rows; `compared` random ones are compared, or all.
with compared as (
    select r from rejected_documents r order by random() limit %(compared)s
), counted as (
    select collection, count(*) as rows from rejected_documents group by collection
)
select 'altered_rejections' as problem, (r).location as name
from compared
where is_altered(r)
union all
select 'collections_with_another_number_of_rejections', coalesce(nullif(collection, ''), 'of no collection')
from rejected_counts
full join counted using (collection)
where coalesce(rejected, 0) <> coalesce(rows, 0)

-- name: excerpts
select document_id, collection, title, left(text, %(characters)s) as text, label
from documents
where document_id = any(%(document_ids)s) and deleted_at is null

-- name: find_absent
-- Note the live documents that the complete read no longer holds; count them, and all live ones.
with live as (
    select d.document_id, d.collection, s.document_id is null as lost
    from documents d
    left join staged_documents s using (document_id)
    where d.collection = any(%(collections)s) and d.deleted_at is null
), noted as (
    insert into absent_documents (document_id, collection)
    select document_id, collection from live where lost
)
select collection, count(*) as live, count(*) filter (where lost) as lost
from live
group by collection
order by collection

-- name: find_misplaced
-- Chunks whose document moved, or is gone, or has changed while their chunker is not followed: then its
-- collection is null. Created, not filled: only a query that writes no row is parallel.
create temp table misplaced_chunks as
select c.chunker, c.document_id, c.chunk_index,
    case when d.deleted_at is null and not outdated.is_left then d.collection end as collection
from chunks c
join documents d using (document_id)
left join chunked_documents m using (document_id, chunker)
cross join lateral (
    select c.chunker <> all(%(chunkers)s) and m.content_hash is distinct from d.content_hash as is_left
) outdated
where d.collection = any(%(collections)s)
    and (d.deleted_at is not null or outdated.is_left or d.collection <> c.collection)

-- name: follow_moves
-- Chunks go where their documents went.
update chunks c
set collection = m.collection
from misplaced_chunks m
where c.chunker = m.chunker and c.document_id = m.document_id and c.chunk_index = m.chunk_index
    and m.collection is not null

-- name: index_numbers
-- With the condition of a filter by order: what is no number, or too long for a tree, is not in it.
create index if not exists {index} on documents ((metadata -> {key}))
where jsonb_typeof(metadata -> {key}) = 'number'

-- name: index_values
create index if not exists documents_metadata on documents using gin (metadata jsonb_path_ops)

-- name: keys
-- When documents came to be, and what feature views of other entities are joined to them by.
select document_id, coalesce(created_at, observed_at), collection, metadata
from documents
where document_id = any(%(document_ids)s)

-- name: number_keys
-- The keys under which most live documents have a number.
select item.key
from documents d, jsonb_each(d.metadata) as item
where d.deleted_at is null and jsonb_typeof(item.value) = 'number'
group by item.key
order by count(*) desc, item.key
limit %(most)s

-- name: log_changes
-- A run that follows a killed one does not say it again.
insert into change_log (stage, collection, document_id, action, reason, run_id)
select %(stage)s, collection, document_id, 'changed', %(reason)s, %(run_id)s
from documents d
where document_id = any(%(ids)s) and %(reason)s is distinct from (
    select l.reason from change_log l where l.document_id = d.document_id order by l.change_id desc limit 1
)

-- name: read_document
-- A live document, by the names of the dataclass.
select document_id, collection, text, title, label, url, group_id as "group", metadata, created_at, headings
from documents
where document_id = %(document_id)s and deleted_at is null

-- name: forget_damaged
-- Have what another hand changed read and cut again; a run compares what it reads with the hashes.
with altered as (
    update documents d
    set content_hash = ''
    where is_altered(d)
    returning collection
), counted as (
    select collection, count(*) as documents from documents where deleted_at is null group by collection
)
update collections c
set fingerprint = 'to be read again'
from collections o
left join counted n using (collection)
where o.collection = c.collection and (
    c.document_count <> coalesce(n.documents, 0) or c.collection in (select collection from altered)
)

-- name: forget_damaged_rejections
-- Have the collections read again of which quarantined rows were changed; any one tells those of none.
with damaged as (
    select collection
    from rejected_documents r
    where is_altered(r)
    union
    select collection
    from rejected_counts
    full join (
        select collection, count(*) as rows from rejected_documents group by collection
    ) n using (collection)
    where coalesce(rejected, 0) <> coalesce(rows, 0)
)
update collections
set fingerprint = 'to be read again'
where collection in (select collection from damaged) or (
    collection = (select min(collection) from collections) and exists (select from damaged where collection = '')
)

-- name: forget_damaged_chunks
delete from chunked_documents m
using documents d
where d.document_id = m.document_id and (
    d.deleted_at is not null
    or chunk_count <> (select count(*) from chunks c where c.document_id = m.document_id and c.chunker = m.chunker)
    or exists (
        select from chunks c
        where c.document_id = m.document_id and c.chunker = m.chunker and is_altered(c, d)
    )
)

-- name: count_of
-- Of these documents, each named once: how many are live, and their chunks, by collection.
select d.collection, count(*), coalesce(sum(c.chunk_count), 0)
from documents d
join unnest(%(document_ids)s::text[]) as asked (document_id) on asked.document_id = d.document_id
left join chunked_documents c
    on c.document_id = d.document_id and c.chunker = (select chunker from chunkers where is_current)
where d.deleted_at is null
group by d.collection
order by d.collection

-- name: licences_of
-- Of these documents, the live ones: how the metadata name their licence, and when they were made.
select
    coalesce(d.metadata ->> 'license', d.metadata ->> 'licence') as licence,
    count(*) as documents, min(d.created_at) as first, max(d.created_at) as last
from documents d
join unnest(%(document_ids)s::text[]) as asked (document_id) on asked.document_id = d.document_id
where d.deleted_at is null
group by 1
order by 2 desc, 1

-- name: history
-- What happened to one document, oldest first.
select changed_at, stage, action, reason, collection, run_id
from change_log
where document_id = %(document_id)s
order by change_id

-- name: pending_chunks
select d.document_id, d.title, d.text, d.headings, d.content_hash
from documents d
left join chunked_documents m on m.document_id = d.document_id and m.chunker = %(chunker)s
where d.collection = any(%(collections)s)
    and d.deleted_at is null
    and m.content_hash is distinct from d.content_hash
order by d.document_id

-- name: rejected
select collection, location, reason, document_id
from rejected_documents
order by collection, location
limit %(most)s

-- name: relation_changes
select change_id, changed_at, collection, document_id, action
from change_log
where stage = 'documents'
order by change_id

-- name: relation_chunks
select chunk_id, document_id, collection, chunk_index, text, token_count
from current_chunks
order by document_id, chunk_index

-- name: relation_documents
-- The live documents as feature views see them: when each was there, and when it became what it is.
select
    document_id, collection, title, text, label, url, group_id, metadata,
    coalesce(created_at, observed_at),
    greatest(changed_at, created_at, observed_at)
from documents
where deleted_at is null
order by document_id collate "C"

-- name: relations_state
-- All that the relations are made of, in one line.
with documents_seen as (
    select
        count(*) filter (where deleted_at is null) as live,
        coalesce(sum(hashtextextended(
            concat_ws(' ', collection, document_id, encode(content_hash, 'hex'), changed_at), 0))
            filter (where deleted_at is null), 0) as content,
        max(changed_at) as changed_time
    from documents
), chunks_seen as (
    select
        count(*) as chunks,
        coalesce(sum(hashtextextended(chunk_id || ' ' || encode(text_hash, 'hex'), 0)), 0) as content
    from current_chunks
), changes_seen as (
    -- Not the last alone: one of a lower number may be committed after it.
    select count(*) as changes, coalesce(sum(change_id), 0) as content from change_log where stage = 'documents'
)
select
    d.live as entities,
    encode(sha256(convert_to(
        concat_ws(' ', d.live, d.content, c.chunks, c.content, l.changes, l.content), 'UTF8')), 'hex') as state_hash,
    coalesce(d.changed_time, to_timestamp(0)) as state_time
from documents_seen d, chunks_seen c, changes_seen l

-- name: remove_absent
-- Tombstone what a complete read no longer holds; the text goes, the id stays.
with removed as (
    update documents d
    set deleted_at = now(), changed_at = now(), title = '', text = '', label = null, url = null,
        metadata = '{}', headings = '[]', content_hash = '', stored_hash = null
    from absent_documents a
    where d.document_id = a.document_id and a.collection = any(%(collections)s)
    returning d.collection, d.document_id
), logged as (
    insert into change_log (stage, collection, document_id, action, reason, run_id)
    select 'documents', collection, document_id, 'removed', 'left the source', %(run_id)s from removed
)
select collection, count(*) as removed from removed group by collection

-- name: remove_orphan_chunks
-- Chunks of tombstoned documents, and what an unfollowed chunker made of those that changed since.
with removed as (
    delete from chunks c
    using misplaced_chunks m
    where c.chunker = m.chunker and c.document_id = m.document_id and c.chunk_index = m.chunk_index
        and m.collection is null
    returning c.collection
), unmarked as (
    delete from chunked_documents m
    using documents d
    where d.document_id = m.document_id and d.collection = any(%(collections)s)
        and (d.deleted_at is not null or m.chunker <> all(%(chunkers)s) and m.content_hash <> d.content_hash)
)
select collection, count(*)::int as removed from removed group by collection

-- name: replace_rejections
-- '' is the collection of rows that do not say to which they belong; any complete read tells all of them.
-- A row that is written again is not removed: see `count_rejections`.
with gone as (
    delete from rejected_documents
    where collection = any(%(collections)s) or (collection = '' and %(heard)s)
)
insert into rejected_documents (collection, location, document_id, reason, stored_hash)
select distinct on (collection, location)
    collection, location, document_id, reason, rejection_hash(collection, location, document_id, reason, now())
from staged_rejections
where collection = any(%(collections)s) or collection = ''
on conflict (collection, location) do update
set document_id = excluded.document_id, reason = excluded.reason, rejected_at = now(),
    stored_hash = excluded.stored_hash

-- name: save_collections
-- A collection that is as it was is not written: every write asks other hosts to look at all they hold.
insert into collections (collection, source, fingerprint)
select collection, %(source)s, fingerprint
from unnest(%(collections)s::text[], %(fingerprints)s::text[]) as given (collection, fingerprint)
on conflict (collection) do update
set source = excluded.source, fingerprint = excluded.fingerprint, refreshed_at = now(),
    read_error = null, failed_at = null
where (collections.source, collections.fingerprint) <> (excluded.source, excluded.fingerprint)
    or collections.refreshed_at is null or num_nonnulls(collections.read_error, collections.failed_at) > 0

-- name: save_unread
-- What was read before stays; a collection that never was has the fingerprint of one that is not there.
insert into collections (collection, source, fingerprint, refreshed_at, read_error, failed_at)
select collection, %(source)s, '', null, reason, now()
from unnest(%(unread)s::text[], %(reasons)s::text[]) as given (collection, reason)
on conflict (collection) do update
set read_error = excluded.read_error, failed_at = coalesce(collections.failed_at, excluded.failed_at)

-- name: stage_batch
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

-- name: uncut_collections
-- Collections with documents to chunk again, or chunks that outlived their document: a run that was killed
-- before it cut them, whatever the source says since; all of them, when another chunker is current.
select distinct d.collection
from documents d
left join chunks c using (document_id)
where case
    when d.deleted_at is not null then c.document_id is not null
    else c.collection is distinct from d.collection
        or not exists (select from chunkers where chunker = %(chunker)s and is_current)
end
union
select d.collection
from documents d
cross join chunkers k
left join chunked_documents m using (document_id, chunker)
where d.deleted_at is null and m.content_hash is distinct from d.content_hash
    and (k.is_followed or m.content_hash is not null)

-- name: upsert_staged
-- Write the staged documents that are new or differ, and log why.
with incoming as (
    select
        s.*,
        case
            when d.document_id is null then 'new'
            when d.deleted_at is not null then 'came back'
            when d.collection <> s.collection then 'moved from ' || d.collection
            when d.content_hash <> s.content_hash and d.text <> s.text then 'text'
            when d.content_hash <> s.content_hash and d.headings <> s.headings then 'headings'
            when d.content_hash <> s.content_hash then 'title, label or metadata'
        end as reason,
        d.document_id is null or d.deleted_at is not null as is_new,
        case when d.deleted_at is null then d.collection end as former_collection
    from staged_contents s
    -- The limit keeps this a look-up for each: they are few, and the table has long rows.
    left join lateral (
        select document_id, collection, content_hash, text, headings, deleted_at
        from documents
        where document_id = s.document_id
        limit 1
    ) d on true
    where s.collection = any(%(collections)s)
), written as (
    insert into documents (document_id, collection, title, text, label, url, group_id, metadata,
        content_hash, created_at, headings, stored_hash)
    select document_id, collection, title, text, label, url, group_id, metadata, content_hash, created_at,
        headings, document_hash(title, text, label, url, group_id, metadata, created_at, headings)
    from incoming
    where reason is not null
    on conflict (document_id) do update
    set collection = excluded.collection, title = excluded.title, text = excluded.text,
        label = excluded.label, url = excluded.url, group_id = excluded.group_id,
        metadata = excluded.metadata, content_hash = excluded.content_hash,
        created_at = excluded.created_at, headings = excluded.headings,
        stored_hash = excluded.stored_hash, changed_at = now(), deleted_at = null
), logged as (
    insert into change_log (stage, collection, document_id, action, reason, run_id)
    select 'documents', collection, document_id,
        case when is_new then 'added' else 'changed' end, reason, %(run_id)s
    from incoming
    where reason is not null
), left_behind as (
    -- Those of a read are counted afterwards.
    update collections c
    set document_count = c.document_count - n.documents
    from (
        select former_collection as collection, count(*) as documents
        from incoming
        where former_collection <> all(%(collections)s)
        group by former_collection
    ) n
    where c.collection = n.collection
)
select
    collection, coalesce(added, 0) as added, coalesce(changed, 0) as changed,
    staged - coalesce(added, 0) - coalesce(changed, 0) as unchanged
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

-- name: add_chunkers
insert into chunkers (chunker, is_current, is_followed)
select chunker, false, true from unnest(%(chunkers)s::text[]) as chunker
on conflict do nothing

-- name: follow_chunkers
-- Those that follow the documents from now on; another one than the current one may not be current.
update chunkers
set is_current = false, is_followed = chunker = any(%(chunkers)s)
where (is_current and chunker <> %(chunker)s) or is_followed <> (chunker = any(%(chunkers)s))

-- name: make_current
update chunkers set is_current = true where chunker = %(chunker)s and not is_current

-- name: version
select concat_ws(' ', count(*), sum(hashtextextended(document_id, hash_record_extended(row(content_hash), 0))))
from documents
where deleted_at is null

-- name: may_write
select has_table_privilege('documents', 'insert')

-- name: shadow
-- Temporary copies hide the tables: what one who may only read writes goes to them, and what is created beside them
-- is temporary, too.
select set_config('search_path', 'pg_temp, ' || current_setting('search_path'), true);
do $$
declare
    shadowed text;
    columns text;
begin
    foreach shadowed in array array[
        'collections', 'documents', 'rejected_documents', 'rejected_counts', 'chunkers', 'chunked_documents', 'chunks',
        'change_log'
    ] loop
        execute format(
            'create temp table %1$I (like ml_schema.%1$I including all) %2$s', shadowed,
            case when shadowed = 'chunks' then 'partition by list (chunker)' end
        );
        if shadowed = 'chunks' then
            create temp table chunks_of_all partition of chunks default;
        end if;
        select string_agg(quote_ident(attname), ', ') into columns
        from pg_attribute
        where attrelid = format('ml_schema.%I', shadowed)::regclass and attnum > 0 and not attisdropped
            and attgenerated = '';
        if shadowed <> 'change_log' then
            execute format('insert into %1$I (%2$s) select %2$s from ml_schema.%1$I', shadowed, columns);
            execute format('analyze %I', shadowed);
        end if;
    end loop;
end $$;
create temp view current_chunks as
select * from chunks where chunker = (select chunker from chunkers where is_current)

-- name: insert_ticket
insert into push_tickets (ticket, document_ids, pushed_by) values (%(ticket)s, %(document_ids)s, %(pushed_by)s)

-- name: push_document
-- A later push of the same document takes the place of the earlier one.
insert into pushed_documents
    (document_id, collection, content_hash, title, text, label, url, group_id, metadata, created_at, ticket)
values (
    %(document_id)s, %(collection)s, %(content_hash)s, %(title)s, %(text)s, %(label)s, %(url)s, %(group)s,
    %(metadata)s, %(created_at)s, %(ticket)s
)
on conflict (document_id) do update
set collection = excluded.collection, content_hash = excluded.content_hash, title = excluded.title,
    text = excluded.text, label = excluded.label, url = excluded.url, group_id = excluded.group_id,
    metadata = excluded.metadata, created_at = excluded.created_at, ticket = excluded.ticket,
    pushed_at = excluded.pushed_at

-- name: owned_by_source
-- Of these, the documents that the source has given, and that nobody pushed.
select document_id
from documents d
where document_id = any(%(document_ids)s) and deleted_at is null
    and not exists (select from pushed_documents p where p.document_id = d.document_id)
order by 1

-- name: collections_with_pushed
select collection from collections where document_count > 0 union select collection from pushed_documents

-- name: pushed_collections
-- Each with a fingerprint of what it holds.
select collection, concat_ws(' ', count(*), sum(hashtextextended(document_id, hash_record_extended(row(content_hash), 0))))
from pushed_documents
group by collection
order by collection

-- name: pushed_stamp
select concat_ws(' ', count(*), sum(hashtextextended(document_id || ticket, 0))) from pushed_documents

-- name: pushed_documents
select document_id, collection, text, title, label, url, group_id as "group", metadata, created_at
from pushed_documents
where collection = any(%(collections)s)
order by document_id

-- name: ticket_states
-- What became of each document of a ticket; one that was read may still wait to be indexed.
select
    asked.document_id,
    case
        when p.document_id is null then 'withdrawn'
        when p.ticket <> t.ticket then 'replaced'
        when d.deleted_at is null and d.content_hash = p.content_hash and d.collection = p.collection then 'read'
        when r.reason is not null then 'rejected'
        else 'queued'
    end as state,
    r.reason
from push_tickets t
cross join lateral unnest(t.document_ids) as asked (document_id)
left join pushed_documents p on p.document_id = asked.document_id
left join documents d on d.document_id = asked.document_id
left join lateral (
    select reason from rejected_documents r
    where r.document_id = asked.document_id and r.rejected_at > t.pushed_at
    limit 1
) r on true
where t.ticket = %(ticket)s
order by 1

-- name: metric_points
-- By collection and day (UTC) of a span of time: how many documents came or changed on it, or went, by what its end
-- left of each; how many rows are in quarantine since; and how good those that came are. That is told while all of them
-- are as they were then: later texts are of later days. A series per row; times in microseconds.
with logged as (
    select distinct on (day, document_id)
        (changed_at at time zone 'UTC')::date as day, document_id, collection, action
    from change_log
    where stage = 'documents' and changed_at >= %(begin)s and changed_at < %(end)s
    order by day, document_id, change_id desc
),

changed as (
    select
        l.collection, l.day, count(*) as documents, count(*) = count(d.document_id) as is_as_it_was,
        count(*) - count(distinct md5(d.text)) as duplicates, count(*) filter (where d.text !~ '\S') as empty,
        count(*) filter (where d.label is null) as unlabelled, avg(length(d.text)) as characters
    from logged l
    left join documents d
        on d.document_id = l.document_id and (d.changed_at at time zone 'UTC')::date = l.day
    where l.action <> 'removed'
    group by 1, 2
),

measured as (
    select collection, day, metric, value
    from changed
    cross join lateral (values
        ('changed', documents::float8), ('duplicates', duplicates), ('empty', empty), ('unlabelled', unlabelled),
        ('characters', characters)
    ) as numbers (metric, value)
    where is_as_it_was or metric = 'changed'
    union all
    select collection, day, 'removed', count(*) from logged where action = 'removed' group by 1, 2
    union all
    select collection, (rejected_at at time zone 'UTC')::date, 'rejected', count(*)
    from rejected_documents
    where rejected_at >= %(begin)s and rejected_at < %(end)s
    group by 1, 2
)

select
    'documents_' || metric as metric, array_agg((1e6 * extract(epoch from day))::bigint order by day) as times,
    array_agg(value order by day) as values, collection
from measured
group by metric, collection

-- name: known_documents
-- Of these, the documents that any table knows, live or not.
select document_id from documents where document_id = any(%(document_ids)s)
union
select document_id from pushed_documents where document_id = any(%(document_ids)s)
union
select document_id from rejected_documents where document_id = any(%(document_ids)s)
union
select document_id from change_log where document_id = any(%(document_ids)s)
order by 1

-- name: said_of_documents
-- All that is said of these documents, as read and as pushed.
select document_id, collection, title, text, label, url, group_id, metadata
from documents
where document_id = any(%(document_ids)s)
union all
select document_id, collection, title, text, label, url, group_id, metadata::jsonb
from pushed_documents
where document_id = any(%(document_ids)s)

-- name: said_of_others
-- All that is said of the other documents, and what does not belong to one.
select concat_ws(' ', document_id, collection, title, label, url, group_id, metadata::text), text
from documents
where document_id <> all(%(document_ids)s)
union all
select concat_ws(' ', document_id, collection, title, label, url, group_id, metadata::text), text
from pushed_documents
where document_id <> all(%(document_ids)s)
union all
select collection, source from collections

-- name: chunks_of_documents
select chunk_id, text_hash from chunks where document_id = any(%(document_ids)s) order by chunk_id

-- name: labels_of_documents_alone
-- Labels that no other live document has.
select distinct label
from documents d
where document_id = any(%(document_ids)s) and label is not null and not exists (
    select from documents o
    where o.label = d.label and o.deleted_at is null and o.document_id <> all(%(document_ids)s)
)

-- name: texts_of_others
-- Of the texts of these documents those that another document has, too.
select o.document_id, o.text
from documents o
where o.document_id <> all(%(document_ids)s) and o.deleted_at is null and o.text = any(%(texts)s)


-- name: first_seen
-- When the first of these documents was read.
select min(changed_at) from change_log where document_id = any(%(document_ids)s)

-- name: read_anew
-- Documents and rejected rows are counted as they are; a run then reads these collections again.
update collections c
set document_count = (
        select count(*) from documents d where d.collection = c.collection and d.deleted_at is null
    ),
    fingerprint = case when fingerprint = '' then '' else 'to be read again' end
where collection = any(%(collections)s)

-- name: recount_rejections
with counted as (
    select collection, count(*) as rows from rejected_documents group by collection
), gone as (
    delete from rejected_counts where collection not in (select collection from counted)
)
update rejected_counts r
set rejected = c.rows
from counted c
where c.collection = r.collection and c.rows <> r.rejected

-- name: documents_with
-- Live documents that have a field, which is called as in the code; of metadata a key. Each has an id and a text; the
-- group of one without is its id.
select count(*) as documents
from documents
where deleted_at is null and case %(field)s
    when 'title' then title <> ''
    when 'label' then label is not null
    when 'url' then url is not null
    when 'group' then group_id <> document_id
    when 'created_at' then created_at is not null
    else %(key)s = '' or metadata ? %(key)s
end
