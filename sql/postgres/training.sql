-- name: any_label
-- Whether there is something to train on, or something trained that must learn that there is not.
select exists (select from documents where label is not null) or exists (select from experiments)

-- name: changed_labels
-- Documents that were written since, with what a training set keeps of them: label and hash, as `labelled` makes it;
-- null of those that left or have no label. Before the first training those alone that have one.
select
    d.document_id, d.changed_at, d.label,
    case when label is not null and %(since)s::timestamptz is not null then
        encode(sha256(convert_to(concat_ws(E'\n', nullif(d.title, ''), d.text), 'UTF8') || coalesce((
            select string_agg(c.text_hash, '\x'::bytea order by c.chunk_index)
            from current_chunks c
            where c.document_id = d.document_id
        ), '\x')), 'hex')
    end as text_hash
from documents d
where d.changed_at > coalesce(%(since)s, '-infinity'::timestamptz)
    and (d.label is not null or %(since)s::timestamptz is not null)

-- name: candidates
-- Of a training set, or the one of a run.
select
    run_id, training_set_hash, family, fingerprint, parameters, metrics, model_uri,
    refitted_uri, onnx_sha256, onnx_reason, resampled, files, sizes
from experiments
where run_id = %(run_id)s
    or (training_set_hash = %(hash)s and fingerprint = any(%(fingerprints)s) and status = 'completed')
order by array_position(%(fingerprints)s::text[], fingerprint)

-- name: complete_experiment
update experiments
set status = 'completed', ended_at = now(), parameters = %(parameters)s, metrics = %(metrics)s,
    history = %(history)s, model_uri = %(model_uri)s, onnx_sha256 = %(onnx_sha256)s,
    onnx_reason = %(onnx_reason)s, resampled = %(resampled)s, files = %(files)s, sizes = %(sizes)s,
    schema = %(schema)s
where run_id = %(run_id)s

-- name: created
select document_id, created_at
from documents
where document_id = any(%(document_ids)s) and deleted_at is null

-- name: examples
-- What a model sees of the documents of a training set: title and text, and the mean of the vectors of their
-- chunks (not normalised); with the hash of what it was made from.
-- The hashes of the texts are compared after the join: in it, they make the planner expect a single row.
with wanted as (
    select d.document_id, concat_ws(E'\n', nullif(d.title, ''), d.text) as seen
    from documents as d
    join unnest(%(document_ids)s::text[]) as asked (document_id) using (document_id)
    where d.deleted_at is null
)
select
    wanted.document_id,
    wanted.seen,
    encode(
        sha256(
            convert_to(wanted.seen, 'UTF8')
            || string_agg(c.text_hash, '\x'::bytea order by c.chunk_index)
        ),
        'hex'
    ) as text_hash,
    avg(e.embedding::vector) as embedding
from wanted
join current_chunks as c using (document_id)
join document_embeddings as e
    on e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.chunker = c.chunker
group by wanted.document_id, wanted.seen
having bool_and(e.text_hash = c.text_hash)
order by wanted.document_id collate "C"

-- name: collections_of
select document_id, collection from documents where document_id = any(%s)

-- name: fail_experiment
update experiments set status = 'failed', ended_at = now() where run_id = %(run_id)s

-- name: history_lengths
select run_id, jsonb_array_length(history)
from experiments
where status = 'completed' and history <> '[]'

-- name: label_groups
select label, count(distinct group_id)::int as groups
from documents
where deleted_at is null and label is not null
group by label
order by label

-- name: labelled
-- Every live document with a label: its group, when it became what it is, a hash of what a model sees of
-- it, one of its text without case and spacing, and whether the vector space has all of its chunks.
with pieces as (
    select
        chunks.document_id,
        string_agg(chunks.text_hash, '\x'::bytea order by chunks.chunk_index) as text_hashes,
        bool_and(e.chunk_id is not null) as embedded
    from current_chunks as chunks
    left join document_embeddings as e
        on e.space_id = %(space_id)s and e.chunk_id = chunks.chunk_id and e.chunker = chunks.chunker
        and e.text_hash = chunks.text_hash
    group by chunks.document_id
)
select
    d.document_id,
    d.label,
    d.group_id,
    greatest(d.changed_at, d.created_at) as label_time,
    encode(sha256(convert_to(concat_ws(E'\n', nullif(d.title, ''), d.text), 'UTF8') || coalesce(pieces.text_hashes, '\x')), 'hex') as text_hash,
    encode(sha256(convert_to(lower(btrim(regexp_replace(d.text, '\s+', ' ', 'g'))), 'UTF8')), 'hex')
        as same_text,
    coalesce(pieces.embedded, false) as embedded
from documents as d
left join pieces on pieces.document_id = d.document_id
where d.deleted_at is null and d.label is not null
order by d.document_id collate "C"

-- name: labels
select document_id, label
from documents
where deleted_at is null and label is not null and document_id = any(%s)

-- name: leave_out_experiment
update experiments set status = 'left out', ended_at = now(), reason = %(reason)s where run_id = %(run_id)s

-- name: left_out
select fingerprint, family, reason
from experiments
where training_set_hash = %(hash)s and fingerprint = any(%(fingerprints)s) and status = 'left out'

-- name: lineage
-- What the rows of a training set were made from: the content of each document, and its chunks in order.
select
    d.document_id,
    d.collection,
    encode(d.content_hash, 'hex') as content_hash,
    coalesce(array_agg(c.chunk_id order by c.chunk_index) filter (where c.chunk_id is not null), '{}') as chunk_ids
from documents as d
left join current_chunks as c using (document_id)
where d.document_id = any(%(document_ids)s) and d.deleted_at is null
group by d.document_id, d.collection, d.content_hash
order by d.document_id collate "C"

-- name: points
-- Every metric of every step of the trainings that are not known yet, a training after the other.
select
    run_id, 'training' as stage, family, point ->> 1 as split, point ->> 2 as metric,
    (point -> 0)::integer as step, (point -> 3)::float8 as value, ended_at as logged_at, host, process, device
from experiments
cross join jsonb_array_elements(history) as point
where run_id <> all(%(known)s)
order by ended_at, run_id

-- name: refit_experiment
update experiments
set refitted_uri = %(refitted_uri)s, onnx_sha256 = %(onnx_sha256)s, onnx_reason = %(onnx_reason)s,
    metrics = %(metrics)s, files = %(files)s, sizes = %(sizes)s
where run_id = %(run_id)s

-- name: start_experiment
-- In place of one that failed, or was killed; of two at once the first to complete stays.
insert into experiments (
    run_id, name, description, owner, training_set_hash, family, fingerprint, host, process, device
)
values (
    %(run_id)s, %(family)s, format('%%s on the training set %%s', %(family)s::text, left(%(hash)s, 12)), %(owner)s,
    %(hash)s, %(family)s, %(fingerprint)s, %(host)s, %(process)s, %(device)s
)
on conflict (training_set_hash, family, fingerprint) where status <> 'lost' do update
set run_id = excluded.run_id, name = excluded.name, description = excluded.description,
    owner = excluded.owner, host = excluded.host, process = excluded.process,
    device = excluded.device, status = 'running', started_at = now(), ended_at = null
where experiments.status <> 'completed'

-- name: runs_named
select run_id
from experiments
where status in ('completed', 'lost') and (family = %(name)s or starts_with(run_id, %(name)s))
order by ended_at desc, run_id

-- name: statistics_by_status
select status, family, experiments, last_started_at, p50_seconds, p95_seconds
from experiment_statistics
order by status, family

-- name: texts
select document_id, text from documents where document_id = any(%(document_ids)s) order by document_id

-- name: trained_last
select training_set_hash, model_uri
from experiments
where status = 'completed'
order by ended_at desc, run_id
limit 1

-- name: unlabelled
select document_id
from documents
where label is null and deleted_at is null
order by document_id collate "C"

-- name: words
-- A hash of what each document says, title and text, without case, spacing and punctuation.
select document_id, encode(sha256(convert_to(
    btrim(regexp_replace(lower(concat_ws(' ', title, text)), '[[:space:][:punct:]]+', ' ', 'g')), 'UTF8'
)), 'hex')
from documents
where document_id = any(%(document_ids)s) and deleted_at is null

-- name: metric_points
-- What the trainings that ended in a span of time reported, a series per row; times in microseconds. When a step was is
-- told by its number, evenly between begin and end.
select
    'training_' || metric as metric, array_agg(micros order by micros) as times,
    array_agg(value order by micros) as values, run, family, split, host, process, device
from (
    select
        run_id as run, family, point ->> 1 as split, point ->> 2 as metric, (point -> 3)::float8 as value,
        host, process, device,
        (1e6 * (extract(epoch from started_at) + extract(epoch from ended_at - started_at) * (point -> 0)::numeric
            / greatest(max((point -> 0)::numeric) over (partition by run_id, point ->> 1, point ->> 2), 1)))::bigint
            as micros
    from experiments
    cross join jsonb_array_elements(history) as point
    where ended_at >= %(begin)s and ended_at < %(end)s
) as steps
group by metric, run, family, split, host, process, device

-- name: rehash_file
-- A file of artifacts was written anew: its hash and size, where they are kept.
update experiments
set files = case when files ? %(path)s then files || jsonb_build_object(%(path)s::text, %(sha256)s::text) else files end,
    sizes = case when sizes ? %(path)s then sizes || jsonb_build_object(%(path)s::text, %(bytes)s::bigint) else sizes end
where files ? %(path)s or sizes ? %(path)s
