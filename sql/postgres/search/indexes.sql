-- name: adopt_entries
-- Let the ledger say what an index holds; what it says already is not written again.
with held as (
    select chunk_id, revision from unnest(%(chunk_ids)s::text[], %(revisions)s::bytea[]) as h (chunk_id, revision)
), gone as (
    delete from search_index_entries e
    where generation_id = %(generation_id)s and index_kind = %(index_kind)s
        and not exists (select from held where held.chunk_id = e.chunk_id)
)
insert into search_index_entries as e (generation_id, index_kind, chunk_id, revision)
select %(generation_id)s, %(index_kind)s, chunk_id, revision from held
on conflict (generation_id, index_kind, chunk_id) do update set revision = excluded.revision
where e.revision <> excluded.revision

-- name: content_version
select concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hash_record_extended(row(revision), 0))))
from ({entries}) as held

-- name: count_live
select count(*) as chunks from {chunks} join documents using (document_id) where deleted_at is null

-- name: differing_entries
-- Chunks that an index does not hold as they are: live, embedded ones that it lacks in their present
-- revision, and those that it holds although they are gone, dead, or wait for the vector of their text.
-- What it holds is told by `entries`: the ledger, or the index itself.
-- In the order of a hash: Chroma's graph, built in the order of the ids, had recall 0.91 instead of 0.97.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
with live as (
    select
        e.chunk_id,
        index_revision(c.text_hash, d.fields_hash) as revision
    from {partition} e
    join {chunks} c on c.chunk_id = e.chunk_id and byteaeq(c.text_hash, e.text_hash)
    join documents d using (document_id)
    where d.deleted_at is null
), indexed as (
    {entries}
)
select chunk_id, live.revision is null as gone, indexed.revision is not null as known
from live
full join indexed using (chunk_id)
where live.revision is distinct from indexed.revision
order by hashtextextended(chunk_id, 0), chunk_id

-- name: doubt_entries
-- Of a revision that nothing has: the next sync writes them again.
update search_index_entries
set revision = ''
where generation_id = %(generation_id)s and index_kind = %(index_kind)s and chunk_id = any(%(chunk_ids)s)

-- name: entries
select
    e.chunk_id,
    index_revision(c.text_hash, d.fields_hash) as revision,
    d.title,
    c.text,
    d.collection,
    d.label,
    (extract(epoch from d.created_at) * 1000000)::bigint as created_at,
    d.metadata,
    case when %(embeddings)s::boolean then e.embedding end as embedding
from {partition} e
join {chunks} c using (chunk_id, text_hash)
join documents d using (document_id)
where e.chunk_id = any(%(chunk_ids)s) and d.deleted_at is null
order by e.chunk_id

-- name: forget_entries
delete from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s and chunk_id = any(%(chunk_ids)s)

-- name: forget_wear
-- The index was built anew: nothing is worn, and the next evaluation measures the generation again.
with fresh as (
    update search_index_marks set worn = 0
    where generation_id = %(generation_id)s and index_kind = %(index_kind)s
    returning generation_id
)
update search_generations set measured = jsonb_set(measured, '{state}', '""')
where generation_id in (select generation_id from fresh)

-- name: held_entries
select chunk_id, revision from unnest(%(chunk_ids)s::text[], %(revisions)s::bytea[]) as held (chunk_id, revision)

-- name: ledger_chunks
select chunk_id
from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s

-- name: ledger_entries
select chunk_id, revision
from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s

-- name: live_revisions
-- The present revisions of live chunks: those of the documents that changed last, and others at random.
with live as (
    select chunk_id, changed_at from {chunks} join documents using (document_id) where deleted_at is null
), sample as (
    (select chunk_id from live order by changed_at desc limit %(size)s)
    union
    (select chunk_id from live order by random() limit %(size)s)
)
select c.chunk_id, index_revision(c.text_hash, d.fields_hash)
from sample
join {chunks} c using (chunk_id)
join documents d using (document_id)

-- name: marks
select index_kind, mark from search_index_marks where generation_id = %(generation_id)s

-- name: record_entries
insert into search_index_entries (generation_id, index_kind, chunk_id, revision)
select %(generation_id)s, %(index_kind)s, chunk_id, revision
from unnest(%(chunk_ids)s::text[], %(revisions)s::bytea[]) as entry (chunk_id, revision)
on conflict (generation_id, index_kind, chunk_id) do update set revision = excluded.revision

-- name: record_mark
insert into search_index_marks (generation_id, index_kind, mark)
values (%(generation_id)s, %(index_kind)s, %(mark)s)
on conflict (generation_id, index_kind) do update
set mark = excluded.mark, worn = search_index_marks.worn + %(worn)s
where search_index_marks.mark <> excluded.mark or %(worn)s > 0

-- name: recorded
-- How many chunks the ledger says that the index holds, and the mark that it should carry.
select
    (select count(*) from search_index_entries where generation_id = %(generation_id)s and index_kind = %(index_kind)s),
    (select mark from search_index_marks where generation_id = %(generation_id)s and index_kind = %(index_kind)s)

-- name: wear
select
    coalesce((select worn from search_index_marks where generation_id = %(generation_id)s and index_kind = %(index_kind)s), 0) as dead,
    (select count(*) from search_index_entries where generation_id = %(generation_id)s and index_kind = %(index_kind)s) as live
