-- What people ask in SQL of trainings, embeddings and searches: each kept with what it is of, and written with it.

-- A row of it is a model version; artifacts are files.
alter table model_artifacts rename to model_versions;

alter table experiments
    add column sizes jsonb not null default '{}',
    add column schema jsonb not null default '[]',
    add column host text not null default '',
    add column process integer not null default 0,
    add column device text not null default '';
comment on column experiments.sizes is 'the bytes of each file that MLflow has of it, by its path; none: from before they were kept';
comment on column experiments.schema is 'what its model takes and gives: a list of [direction, name, type]';
comment on column experiments.process is 'the id of the process that trained it, on its host; 0: not kept';

create view model_artifacts as
select
    run_id, family,
    case
        when path like '%.skops' then 'model'
        when path like '%.onnx' then 'onnx'
        when path like '%.png' then 'plot'
        when path like '%.parquet' then 'data'
        else 'metadata'
    end as type,
    path, files ->> path as checksum, (sizes ->> path)::bigint as bytes
from experiments
cross join jsonb_object_keys(sizes || files) as path;
comment on view model_artifacts is 'the files that MLflow has of each training';
comment on column model_artifacts.checksum is 'sha256 in hex; null: it lies on a server of MLflow';

create view model_metrics as
select
    run_id, family, training_set_hash,
    coalesce(substring(full_name from '^(validation|test|newest)_'), '') as split,
    regexp_replace(full_name, '^(validation|test|newest)_', '') as metric,
    (number #>> '{}')::float8 as value
from experiments
cross join jsonb_each(metrics) as each (full_name, number);
comment on column model_metrics.split is 'empty: what the training or the model costs';

create view model_schemas as
select
    run_id, family, field ->> 0 as direction, position, field ->> 1 as name, field ->> 2 as type
from experiments
cross join jsonb_array_elements(schema) with ordinality as fields (field, position);

create view experiment_statistics as
select
    status, family, count(*) as experiments, min(started_at) as first_started_at,
    max(started_at) as last_started_at,
    percentile_cont(0.5) within group (order by extract(epoch from ended_at - started_at)) as p50_seconds,
    percentile_cont(0.95) within group (order by extract(epoch from ended_at - started_at)) as p95_seconds
from experiments
group by status, family;

create table embedding_runs (
    run_id text primary key,
    space_id text not null,
    encoded bigint not null,
    started_at timestamptz not null,
    ended_at timestamptz not null default now(),
    host text not null,
    process integer not null,
    device text not null,
    history jsonb not null
);
comment on table embedding_runs is 'the runs that computed vectors, for a year';
comment on column embedding_runs.run_id is 'the run of Dagster';
comment on column embedding_runs.history is 'what the process used: a list of [step, split, metric, value], as of experiments';

create table search_measurements (
    generation_id text not null,
    measured_at timestamptz not null default now(),
    documents text not null,
    queries integer not null,
    quality jsonb not null,
    recall jsonb not null,
    latency jsonb not null,
    primary key (generation_id, measured_at)
);
comment on table search_measurements is 'every measurement of a search generation; the last of each stands in search_generations, whole';
comment on column search_measurements.documents is 'the version of the documents it was measured on';
comment on column search_measurements.quality is 'method → metric → mean over the reporting queries';
comment on column search_measurements.recall is 'index → recall@10 against exact search';
comment on column search_measurements.latency is 'p50_ms and p95_ms of a search; none: nothing was asked';

-- What was measured before measurements were kept.
insert into search_measurements (generation_id, documents, queries, quality, recall, latency)
select
    generation_id, coalesce(measured ->> 'documents', ''), coalesce((measured ->> 'judged_queries')::integer, 0),
    coalesce((
        select jsonb_object_agg(method, halves -> 'reporting')
        from jsonb_each(measured -> 'quality' -> 'methods') as methods (method, halves)
        where halves ? 'reporting'
    ), '{}'),
    coalesce(measured -> 'recall', '{}'), '{}'
from search_generations
where jsonb_typeof(measured -> 'quality' -> 'methods') = 'object';
