-- name: adopt_entries
-- Let the ledger say what an index holds; what it says already is not written again.
with indexed as (
    select chunk_id, revision from unnest(%(chunk_ids)s::text[], %(revisions)s::bytea[]) as i (chunk_id, revision)
), gone as (
    delete from search_index_entries e
    where generation_id = %(generation_id)s and index_kind = %(index_kind)s
        and not exists (select from indexed where indexed.chunk_id = e.chunk_id)
)
insert into search_index_entries as e (generation_id, index_kind, chunk_id, revision)
select %(generation_id)s, %(index_kind)s, chunk_id, revision from indexed
on conflict (generation_id, index_kind, chunk_id) do update set revision = excluded.revision
where e.revision <> excluded.revision

-- name: content_version
select concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hash_record_extended(row(revision), 0))))
from ({entries}) as indexed

-- name: count_live
select count(*) as chunks from {chunks} join documents using (document_id) where deleted_at is null

-- name: count_waiting
select count(*) as documents, count(*) filter (where {passing}) as could_pass
from {waiting}

-- name: waiting_among
-- Of these documents, the live ones that wait.
select d.document_id from {waiting} and d.document_id = any(%(document_ids)s)

-- name: differing_entries
-- Chunks that an index does not hold as they are: live, embedded ones that it lacks in their present
-- revision, and those that it holds although they are gone, dead, or wait for the vector of their text.
-- What it holds is told by `entries`: the ledger, or the index itself.
-- In the order of a hash: Chroma's graph, built in the order of the ids, finds fewer of the neighbours.
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
    -- With the headings above the chunk, as far as its hash, and so the revision, knows them.
    case
        when cardinality(c.path) = 0 then d.title
        when starts_with(c.heading, d.title) then c.heading
        else concat_ws(' ', d.title, c.heading)
    end as title,
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

-- name: given_entries
select chunk_id, revision from unnest(%(chunk_ids)s::text[], %(revisions)s::bytea[]) as given (chunk_id, revision)

-- name: ledger_chunks
select chunk_id
from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s

-- name: ledger_entries
select chunk_id, revision
from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s

-- name: all_live_revisions
-- The present revisions of all live chunks.
select c.chunk_id, index_revision(c.text_hash, d.fields_hash)
from {chunks} c
join documents d using (document_id)
where d.deleted_at is null

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

-- name: record_synced
-- Since when the index has every document, if it has. Only after a document was written: every write asks other
-- hosts to look at all they hold.
update search_index_marks as m set synced_at = now()
where generation_id = %(generation_id)s and index_kind = %(index_kind)s
    and (synced_at is null or exists (select from documents where changed_at >= m.synced_at))
    and not exists (select from {waiting})

-- name: recorded
-- How many chunks the ledger says that the index holds, and the mark that it should carry.
select
    (select count(*) from search_index_entries where generation_id = %(generation_id)s and index_kind = %(index_kind)s),
    (select mark from search_index_marks where generation_id = %(generation_id)s and index_kind = %(index_kind)s)

-- name: wear
select
    coalesce((select worn from search_index_marks where generation_id = %(generation_id)s and index_kind = %(index_kind)s), 0) as dead,
    (select count(*) from search_index_entries where generation_id = %(generation_id)s and index_kind = %(index_kind)s) as live

-- name: waiting
-- Live documents, written since all of these indexes last had every one, that are not in them as they are: their
-- chunks are not made anew, not embedded, or not indexed.
documents d
where d.deleted_at is null
    and d.changed_at >= coalesce(
        (
            select min(coalesce(m.synced_at, '-infinity'))
            from unnest(%(index_kinds)s::text[]) as asked (kind)
            left join search_index_marks m on m.generation_id = %(generation_id)s and m.index_kind = asked.kind
        ), '-infinity')
    and (
        not exists (
            select from chunked_documents m
            where m.document_id = d.document_id and m.chunker = %(chunker)s and m.content_hash = d.content_hash
        )
        or exists (
            select from {chunks} c
            where c.document_id = d.document_id and (
                not exists (
                    select from {partition} e
                    where e.chunk_id = c.chunk_id and e.text_hash = c.text_hash
                )
                or exists (
                    select from unnest(%(index_kinds)s::text[]) as asked (kind)
                    where not exists (
                        select from search_index_entries i
                        where i.generation_id = %(generation_id)s and i.index_kind = asked.kind
                            and i.chunk_id = c.chunk_id
                            and i.revision = index_revision(c.text_hash, d.fields_hash)
                    )
                )
            )
        )
    )
