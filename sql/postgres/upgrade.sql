-- name: count_old_migrations
-- Of tables from before checksums were kept; 0 of any others.
select count(name)
from ml_schema.migrations
where not exists (
    select from information_schema.columns
    where table_schema = 'ml_schema' and table_name = 'migrations' and column_name = 'checksum'
)

-- name: set_aside
alter schema ml_schema rename to ml_schema_before

-- name: carry_over
-- Everything but indexes over vectors, which the next run builds. Chunks of removed documents stay behind.
insert into collections
    (collection, source, fingerprint, document_count, refreshed_at, read_error, failed_at)
select collection, source, fingerprint, document_count, refreshed_at, read_error, failed_at
from ml_schema_before.collections;

insert into documents
    (document_id, collection, title, text, label, url, group_id, metadata, content_hash, created_at,
    observed_at, changed_at, deleted_at, stored_hash)
select document_id, collection, title, text, label, url, group_id, metadata, content_hash, created_at,
    observed_at, changed_at, deleted_at,
    document_hash(title, text, label, url, group_id, metadata, created_at)
from ml_schema_before.documents;

-- Of several chunkers the one with most documents is the current one.
insert into chunkers (chunker, is_current, is_followed)
select chunker, number = 1, number = 1
from (
    select chunker, row_number() over (order by count(*) desc, chunker) as number
    from ml_schema_before.documents
    where chunker is not null
    group by chunker
) as known;
insert into chunked_documents (chunker, document_id, content_hash, chunk_count)
select d.chunker, d.document_id, d.chunked_hash,
    (select count(*) from ml_schema_before.chunks c where c.document_id = d.document_id)
from ml_schema_before.documents d
where d.chunker is not null and d.chunked_hash is not null and d.deleted_at is null;

insert into rejected_documents (collection, location, document_id, reason, rejected_at, stored_hash)
select collection, location, document_id, reason, rejected_at,
    rejection_hash(collection, location, document_id, reason, rejected_at)
from ml_schema_before.rejected_documents;
insert into rejected_counts select collection, count(*) from rejected_documents group by collection;

insert into embedding_spaces (space_id, dimension, definition, created_at, fidelity)
select space_id, dimension, definition, created_at, fidelity from ml_schema_before.embedding_spaces;

-- The partitions that the code would create.
do $$
declare
    space record;
    made_by text;
begin
    for made_by in select chunker from chunkers loop
        execute format(
            'create table chunks_%1$s partition of chunks for values in (%1$L) partition by range (created_at);'
            'create table chunks_%1$s_default partition of chunks_%1$s default', made_by);
    end loop;
    for space in select space_id, dimension from embedding_spaces loop
        execute format(
            'create table document_embeddings_%1$s partition of document_embeddings'
            ' (check (vector_dims(embedding) = %2$s)) for values in (%1$L) partition by list (chunker)',
            space.space_id, space.dimension);
        for made_by in select chunker from chunkers loop
            execute format(
                'create table document_embeddings_%1$s_%2$s partition of document_embeddings_%1$s'
                ' for values in (%2$L) partition by range (created_at);'
                'create table document_embeddings_%1$s_%2$s_default'
                ' partition of document_embeddings_%1$s_%2$s default', space.space_id, made_by);
        end loop;
    end loop;
end $$;

insert into chunks
    (chunker, created_at, chunk_id, document_id, collection, chunk_index, start_offset, end_offset,
    token_count, heading, text, text_hash)
select b.chunker, coalesce(d.created_at, '-infinity'), c.chunk_id, c.document_id, c.collection,
    c.chunk_index, c.start_offset, c.end_offset, c.token_count, c.heading, c.text, c.text_hash
from ml_schema_before.chunks c
join documents d using (document_id)
join ml_schema_before.documents b using (document_id)
where b.chunker is not null;

insert into document_embeddings
    (space_id, chunker, created_at, chunk_id, collection, text_hash, embedding, embedded_at, embedding_hash)
select e.space_id, c.chunker, c.created_at, e.chunk_id, e.collection, e.text_hash, e.embedding, e.embedded_at,
    embedding_hash(e.embedding)
from ml_schema_before.document_embeddings e
join chunks c using (chunk_id)
-- In this order pgvector builds its graph.
order by e.text_hash;

insert into change_log (change_id, changed_at, stage, collection, document_id, action, reason, run_id)
    overriding system value
select change_id, changed_at, stage, collection, document_id, action, reason, run_id
from ml_schema_before.change_log;

insert into search_generations
    (generation_id, space_id, parameters, fusion, evaluation, measured, created_at, dropped_at)
select generation_id, space_id, jsonb_set(parameters, '{chunking}', jsonb_build_object(
        'chunker', coalesce((select chunker from chunkers where is_current), 'none'))), coalesce(evaluation -> 'fusion', '{}'), evaluation, measured,
    created_at, case when state = 'dropped' then coalesce(retired_at, now()) end
from ml_schema_before.search_generations;
insert into search_index_entries select * from ml_schema_before.search_index_entries;
insert into search_index_marks (generation_id, index_kind, mark, worn)
select generation_id, index_kind, mark, worn from ml_schema_before.search_index_marks;

insert into feature_definitions (view, version, entity, fingerprint, definition, registered_at)
select view, version, entity, fingerprint, definition, registered_at
from ml_schema_before.feature_definitions;
-- Whose they are was not kept; they were written when they ended.
insert into experiments
    (run_id, name, description, owner, status, started_at, ended_at, training_set_hash, family, fingerprint,
    parameters, metrics, history, model_uri)
select run_id, family, '', '', 'completed',
    created_at - make_interval(secs => coalesce((metrics ->> 'seconds')::float8, 0)), created_at,
    training_set_hash, family, fingerprint, parameters, metrics, history, model_uri
from ml_schema_before.experiments;
insert into model_versions
    (model_name, version, run_id, uri, training_set_hash, space_id, feature_views, metrics, seed, created_at)
select model_name, version, run_id, uri, training_set_hash, space_id, feature_views, metrics, seed, created_at
from ml_schema_before.model_artifacts;

-- When each generation was published last, and when each model was promoted: more was not kept.
with events as (
    select
        g.published_at as at, g.generation_id, g.space_id,
        null::bigint as old_id, coalesce(g.published_by, 'unknown') as actor, 'publish' as action,
        coalesce((
            select reason from ml_schema_before.model_audit_logs a
            where a.subject = 'search_generation:' || g.generation_id and a.action in ('publish', 'rollback')
            order by a.entry_id desc
            limit 1
        ), 'before releases were kept') as reason
    from ml_schema_before.search_generations g
    where g.published_at is not null
    union all
    select r.created_at, null, null, r.release_id, r.actor, 'promote', r.reason
    from ml_schema_before.releases r
), numbered as (
    select
        *,
        row_number() over ordered as number,
        count(generation_id) over ordered as generations,
        count(old_id) over ordered as models
    from events
    window ordered as (order by at, old_id nulls first, generation_id rows unbounded preceding)
), timeline as (
    select
        number, actor, action, reason,
        max(space_id) over (partition by generations) as space_id,
        max(generation_id) over (partition by generations) as generation_id,
        max(old_id) over (partition by models) as old_id,
        at + number * interval '1 microsecond' as served_from
    from numbered
)
insert into releases
    (space_id, generation_id, feature_views, model_name, model_version, model_space_id, served, actor, action, reason)
select
    t.space_id, t.generation_id, coalesce(r.feature_views, '{}'), r.model_name, r.model_version,
    case when r.model_name is not null then r.space_id end,
    tstzrange(t.served_from, lead(t.served_from) over (order by t.number)),
    t.actor, t.action, t.reason
from timeline t
left join ml_schema_before.releases r on r.release_id = t.old_id
order by t.number;
insert into withdrawals (part, identity, actor, reason, withdrawn_at)
select
    'generation_id', generation_id,
    withdrawn ->> 'actor', withdrawn ->> 'reason', coalesce((withdrawn ->> 'at')::timestamptz, now())
from ml_schema_before.search_generations
where withdrawn ? 'actor' and withdrawn ? 'reason';
insert into model_audit_logs
    (entry_id, logged_at, actor, action, subject, reason, details, previous_hash, entry_hash)
    overriding system value
select entry_id, logged_at, actor, action, subject, reason, details, previous_hash, entry_hash
from ml_schema_before.model_audit_logs;

-- What is numbered goes on behind the numbers that were carried over.
select setval(pg_get_serial_sequence('change_log', 'change_id'), coalesce(max(change_id), 0) + 1, false)
from change_log;
select setval(pg_get_serial_sequence('model_audit_logs', 'entry_id'), coalesce(max(entry_id), 0) + 1, false)
from model_audit_logs;

drop schema ml_schema_before cascade
