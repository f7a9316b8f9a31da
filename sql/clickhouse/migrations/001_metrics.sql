-- Metrics as time series. A row that is written again replaces itself: read with `final`.
create table if not exists training_metrics (
    run_id String,
    family LowCardinality(String),
    split LowCardinality(String),
    metric LowCardinality(String),
    step UInt32,
    value Float64,
    logged_at DateTime64(3, 'UTC')
) engine = ReplacingMergeTree order by (run_id, metric, split, step);

create table if not exists model_performance (
    model LowCardinality(String),
    version UInt32,
    metric LowCardinality(String),
    value Float64,
    at DateTime64(3, 'UTC')
) engine = ReplacingMergeTree order by (model, version, metric, at);
