-- How the service answered, by minute, route and process: of so many requests, those that failed by a fault of ours (5xx),
-- and the latencies of up to a thousand. `release_id`: what was served last; 0: nothing.
create table if not exists request_log (
    day Date,
    writer String,
    sequence UInt64,
    at DateTime64(6, 'UTC'),
    route LowCardinality(String),
    release_id UInt32,
    requests UInt32,
    errors UInt32,
    latencies_ms Array(Float64),
    cpu_percent Float64,
    memory_mib Float64,
    host LowCardinality(String),
    process UInt32
) engine = ReplacingMergeTree
partition by toYYYYMM(day)
order by (day, writer, sequence)
settings fsync_after_insert = 1, fsync_part_directory = 1;
