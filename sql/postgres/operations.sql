-- name: collections
select collection, source, document_count as documents, refreshed_at, read_error, failed_at
from collections
where fingerprint <> '' or read_error is not null
order by collection

-- name: count_changes
-- Not the highest number: of two transactions the one with the lower numbers may commit later.
select count(*) as changes from change_log

-- name: counts
select
    (select count(*) from collections where fingerprint <> '')::int as collections,
    d.documents,
    d.tombstones,
    (select count(*) from rejected_documents)::int as rejected,
    (select count(*) from chunks)::int as chunks,
    (select count(*) from document_embeddings where space_id = %(space_id)s)::int as vectors
from (
    select
        count(*) filter (where deleted_at is null)::int as documents,
        count(*) filter (where deleted_at is not null)::int as tombstones
    from documents
) d

-- name: finished_run
select state, changes, finished_at, warnings from finished_run

-- name: remember_finish
insert into finished_run (state, changes, warnings) values (%(state)s, %(changes)s, %(warnings)s)
on conflict (one) do update
set state = excluded.state, changes = excluded.changes, warnings = excluded.warnings, finished_at = now()
