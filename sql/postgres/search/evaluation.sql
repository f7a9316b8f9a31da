-- name: find_probe
select d.document_id, c.text, e.embedding
from {partition} e
join {chunks} c using (chunk_id)
join documents d using (document_id)
where d.deleted_at is null
order by e.chunk_id
limit 1

-- name: judged_documents
select document_id
from documents
where document_id = any(%(document_ids)s) and deleted_at is null

-- name: sample_vectors
-- The order by a hash is random, and the same for the same seed.
select e.chunk_id, e.embedding
from {partition} e
join {chunks} c using (chunk_id)
join documents d using (document_id)
where d.deleted_at is null
order by md5(%(seed)s || e.chunk_id), e.chunk_id
limit %(size)s

-- name: measurements
-- One that another hand changed is none.
select
    case when coalesce(measured ->> 'hash' = measurement_hash(measured), true) then measured - 'hash' end,
    case when coalesce(evaluation ->> 'hash' = measurement_hash(evaluation), true) then evaluation - 'hash' end
from search_generations
where generation_id = %(generation_id)s

-- name: record_measured
update search_generations
set measured = %(document)s::jsonb || jsonb_build_object('hash', measurement_hash(%(document)s))
where generation_id = %(generation_id)s

-- name: record_published
with fresh as (
    select %(document)s::jsonb || jsonb_build_object('hash', measurement_hash(%(document)s)) as evaluation
)
update search_generations as g
set evaluation = fresh.evaluation, fusion = %(fusion)s
from fresh
where generation_id = %(generation_id)s
    and (g.evaluation, g.fusion) is distinct from (fresh.evaluation, %(fusion)s::jsonb)

-- name: keep_measurement
insert into search_measurements (generation_id, documents, queries, quality, recall, latency)
values (%(generation_id)s, %(documents)s, %(queries)s, %(quality)s, %(recall)s, %(latency)s)
on conflict (generation_id, measured_at) do nothing

-- name: kept_measurements
-- Of each generation the last of each day (UTC), until a time.
select generation_id, measured_at, documents, queries, quality, recall, latency
from (
    select distinct on (generation_id, (measured_at at time zone 'UTC')::date) *
    from search_measurements
    where measured_at < %(until)s
    order by generation_id, (measured_at at time zone 'UTC')::date, measured_at desc
) as last_of_day
order by measured_at, generation_id

-- name: metric_points
-- What was measured of search in a span of time, a series per row; times in microseconds.
select
    'search_' || metric as metric, array_agg((1e6 * extract(epoch from measured_at))::bigint order by measured_at) as times,
    array_agg(value::float8 order by measured_at) as values, generation_id as generation, method
from (
    select generation_id, measured_at, method, metric, value
    from search_measurements
    cross join jsonb_each(quality) as methods (method, metrics)
    cross join jsonb_each_text(metrics) as numbers (metric, value)
    union all
    select generation_id, measured_at, method, 'recall@10', value
    from search_measurements cross join jsonb_each_text(recall) as numbers (method, value)
    union all
    select generation_id, measured_at, '', metric, value
    from search_measurements cross join jsonb_each_text(latency) as numbers (metric, value)
) as measured
where measured_at >= %(begin)s and measured_at < %(end)s
group by metric, generation_id, method

-- name: forget_measurements
-- Those of more than two years ago, but the last of each generation.
delete from search_measurements as old
where measured_at < now() - interval '2 years'
    and exists (
        select from search_measurements as later
        where later.generation_id = old.generation_id and later.measured_at > old.measured_at
    )
