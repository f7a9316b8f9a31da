-- Where a step ran, and what came of it: the model version, and the first release with it; 0: none.
alter table training_metrics
    add column if not exists stage LowCardinality(String) default 'training',
    add column if not exists version UInt32,
    add column if not exists release_id UInt32,
    add column if not exists host LowCardinality(String),
    add column if not exists process UInt32,
    add column if not exists device LowCardinality(String);

-- How the versions of a model answered, day by day: the sketches of its hours, merged.
create table if not exists model_performance_daily (
    day Date,
    model LowCardinality(String),
    version UInt32,
    predictions UInt64,
    requests UInt64,
    probability Float64,
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64),
    computed_at DateTime64(3, 'UTC') default now64(3)
) engine = ReplacingMergeTree(computed_at)
partition by toYear(day)
order by (model, version, day);

-- How good and how fast search was on a day: the last measurement of each generation that was served or measured on it.
create table if not exists search_quality_daily (
    day Date,
    generation_id LowCardinality(String),
    is_served Bool,
    method LowCardinality(String),
    metric LowCardinality(String),
    value Float64,
    measured_at DateTime64(6, 'UTC'),
    computed_at DateTime64(3, 'UTC') default now64(3)
) engine = ReplacingMergeTree(computed_at)
partition by toYear(day)
order by (generation_id, method, metric, day);
