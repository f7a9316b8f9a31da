-- Metrics of any name as time series: points, and what is rolled up of them by minute, hour and day
-- as they are inserted. Points that are written again replace themselves, but a view sees only
-- what is inserted: `ml_assets.stores.metrics` makes such buckets again.
create table if not exists metric_series (
    series Int64,
    name LowCardinality(String),
    labels Map(LowCardinality(String), String)
) engine = ReplacingMergeTree order by (name, series);

create table if not exists metric_points (
    series Int64 codec(ZSTD(1)),
    at DateTime64(6, 'UTC') codec(DoubleDelta, ZSTD(1)),
    value Float64 codec(ZSTD(1))
) engine = ReplacingMergeTree
partition by toDate(at)
order by (series, at)
ttl toDate(at) + interval 401 day delete
settings ttl_only_drop_parts = 1;

-- Of a bucket of a series: `sketch` is a DDSketch of the values times 1e9, 2 % of which it may be
-- off. Without the factor it would be up to 6 %: of magnitudes below 1 ClickHouse rounds the
-- logarithm up where it should round down.
create table if not exists metric_minute (
    series Int64 codec(ZSTD(1)),
    bucket DateTime('UTC') codec(Delta, ZSTD(1)),
    points SimpleAggregateFunction(sum, UInt64) codec(T64, ZSTD(1)),
    total SimpleAggregateFunction(sum, Float64) codec(ZSTD(1)),
    low SimpleAggregateFunction(min, Float64) codec(ZSTD(1)),
    high SimpleAggregateFunction(max, Float64) codec(ZSTD(1)),
    deviation AggregateFunction(stddevSampStable, Float64) codec(ZSTD(1)),
    sketch AggregateFunction(quantilesDD(0.02, 0.5), Float64) codec(ZSTD(1))
) engine = AggregatingMergeTree
partition by toDate(bucket)
order by (series, bucket)
ttl toDate(bucket) + interval 401 day delete
settings ttl_only_drop_parts = 1;

create table if not exists metric_hour as metric_minute
engine = AggregatingMergeTree
partition by toYYYYMM(bucket)
order by (series, bucket)
ttl toDate(bucket) + interval 1601 day delete
settings index_granularity = 512;

alter table metric_hour modify column sketch codec(LZ4);

create table if not exists metric_day as metric_minute
engine = AggregatingMergeTree
partition by toYear(bucket)
order by (series, bucket)
settings index_granularity = 512;

alter table metric_day modify column sketch codec(LZ4);

create materialized view if not exists metric_minute_of_points to metric_minute as
select
    series,
    toStartOfMinute(at) as bucket,
    count() as points,
    sum(value) as total,
    min(value) as low,
    max(value) as high,
    stddevSampStableState(value) as deviation,
    quantilesDDState(0.02, 0.5)(
        if(abs(value) < 1e-9, 0., 1e9 * greatest(least(value, 1e18), -1e18))
    ) as sketch
from metric_points
group by series, bucket;

create materialized view if not exists metric_hour_of_points to metric_hour as
select
    series,
    toStartOfHour(at) as bucket,
    count() as points,
    sum(value) as total,
    min(value) as low,
    max(value) as high,
    stddevSampStableState(value) as deviation,
    quantilesDDState(0.02, 0.5)(
        if(abs(value) < 1e-9, 0., 1e9 * greatest(least(value, 1e18), -1e18))
    ) as sketch
from metric_points
group by series, bucket;

create materialized view if not exists metric_day_of_points to metric_day as
select
    series,
    toStartOfDay(at) as bucket,
    count() as points,
    sum(value) as total,
    min(value) as low,
    max(value) as high,
    stddevSampStableState(value) as deviation,
    quantilesDDState(0.02, 0.5)(
        if(abs(value) < 1e-9, 0., 1e9 * greatest(least(value, 1e18), -1e18))
    ) as sketch
from metric_points
group by series, bucket;

-- What replaced points changed of a series, from its first to its last time, until the rollups are
-- made again: `is_done` then.
create table if not exists metric_stale (
    series Int64,
    first DateTime64(6, 'UTC'),
    last DateTime64(6, 'UTC'),
    is_done UInt8 default 0
) engine = ReplacingMergeTree order by (series, first, last);

-- Partitions that are made again, before they take the place of those that are read.
create table if not exists metric_minute_anew as metric_minute
engine = AggregatingMergeTree partition by toDate(bucket) order by (series, bucket);

create table if not exists metric_hour_anew as metric_hour
engine = AggregatingMergeTree partition by toYYYYMM(bucket) order by (series, bucket)
settings index_granularity = 512;

create table if not exists metric_day_anew as metric_day
engine = AggregatingMergeTree partition by toYear(bucket) order by (series, bucket)
settings index_granularity = 512;
