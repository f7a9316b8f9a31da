-- How the versions of a model answered, hour by hour. Latencies are sketches that can be merged:
-- quantiles of quantiles would be wrong. An hour that is computed again replaces itself.
create table if not exists model_performance_hourly (
    hour DateTime('UTC'),
    model LowCardinality(String),
    version UInt32,
    predictions UInt64,
    requests UInt64,
    probability Float64,
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64),
    computed_at DateTime64(3, 'UTC') default now64(3)
) engine = ReplacingMergeTree(computed_at)
partition by toYYYYMM(hour)
order by (model, version, hour);

-- What was out of the ordinary on a day: `ended_at` is the last time of it on that day.
create table if not exists anomalies (
    day Date,
    model LowCardinality(String),
    metric LowCardinality(String),
    kind LowCardinality(String),
    began_at DateTime('UTC'),
    ended_at DateTime('UTC'),
    score Float64,
    value Float64,
    expected Float64
) engine = MergeTree
partition by toYYYYMM(day)
order by (day, model, metric, kind, began_at);
