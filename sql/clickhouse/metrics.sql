-- name: series
select series, any(labels) as labels from metric_series where name = {name:String} group by series

-- name: points
select series, toUnixTimestamp64Micro(metric_points.at) as at, value
from metric_points final
where series in {ids:Array(Int64)}
    and metric_points.at >= fromUnixTimestamp64Micro({begin:Int64}, 'UTC')
    and metric_points.at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
order by series, metric_points.at

-- name: latest
select series, toUnixTimestamp64Micro(max(metric_points.at)) as at,
    argMax(value, metric_points.at) as value
from metric_points final
where series in {ids:Array(Int64)}
    and metric_points.at >= fromUnixTimestamp64Micro({begin:Int64}, 'UTC')
    and metric_points.at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
group by series
order by series

-- name: aggregate
-- From a rollup. Times in seconds since 1970. A rollup has few rows, and sketches that take long to merge: by default one
-- thread reads them. Settings that are not in the statement are four more to chDB.
select
    transform(series, {ids:Array(Int64)}, {groups:Array(UInt32)}, toUInt32(0)) as place,
    intDiv(toUnixTimestamp(bucket), {step:Int64}) * {step:Int64} as at,
    sum(points) as counts,
    sum(total) / counts as mean,
    min(low) as lowest,
    max(high) as highest,
    if(counts > 1, stddevSampStableMerge(deviation), nan) as spread,
    {quantiles} as quantiles
from {source:Identifier}
where series in {ids:Array(Int64)}
    and bucket >= toDateTime({begin:Int64}, 'UTC') and bucket < toDateTime({end:Int64}, 'UTC')
group by place, at
order by place, at
settings merge_tree_min_rows_for_concurrent_read = 4096, merge_tree_min_bytes_for_concurrent_read = 1048576

-- name: merged
-- Quantiles of sketches that are added.
arrayMap(level -> level / 1e9, quantilesDDMerge(0.02, {levels})(sketch))

-- name: of_a_row
-- Quantiles of groups that are one row each, from the keys they have in it.
arrayMap(key -> sign(key) * exp((abs(key) - 1) * 0.040005334613699206) * 1.02 / 1e9, [{keys}])

-- name: key_of_a_row
-- Of the value of rank floor(level (n - 1)), from 0 on. NaN where there are more rows, or counts that are not all.
if(
    count() = 1,
    any(if(
        arrayCumSum(bins.values)[-1] = points,
        toFloat64(bins.keys[arrayFirstIndex(
            seen -> seen > toUInt64(floor({level} * (points - 1))), arrayCumSum(bins.values)
        )]),
        nan
    )),
    nan
)

-- name: exact
-- The same, from the points.
select
    transform(series, {ids:Array(Int64)}, {groups:Array(UInt32)}, toUInt32(0)) as place,
    intDiv(toUnixTimestamp64Micro(metric_points.at), {step:Int64} * 1000000) * {step:Int64} as at,
    count() as counts,
    avg(value) as mean,
    min(value) as lowest,
    max(value) as highest,
    if(counts > 1, stddevSampStable(value), nan) as spread,
    arrayMap(
        level -> arraySort(groupArray(value))[toUInt64(floor(level * (counts - 1))) + 1],
        {levels:Array(Float64)}
    ) as quantiles
from metric_points final
where series in {ids:Array(Int64)}
    and metric_points.at >= toDateTime64({begin:Int64}, 6, 'UTC')
    and metric_points.at < toDateTime64({end:Int64}, 6, 'UTC')
group by place, at
order by place, at

-- name: replaced
-- Those of the series that have a point already between their first and last one.
select distinct series
from (
    select
        series,
        metric_points.at as at,
        transform(series, {ids:Array(Int64)}, {firsts:Array(Int64)}, toInt64(0)) as first,
        transform(series, {ids:Array(Int64)}, {lasts:Array(Int64)}, toInt64(0)) as last
    from metric_points
    where series in {ids:Array(Int64)}
        and metric_points.at >= fromUnixTimestamp64Micro({begin:Int64}, 'UTC')
        and metric_points.at <= fromUnixTimestamp64Micro({end:Int64}, 'UTC')
)
where toUnixTimestamp64Micro(at) between first and last

-- name: stale
select series, toUnixTimestamp64Micro(first), toUnixTimestamp64Micro(last)
from metric_stale final
where is_done = 0

-- name: remake
-- The buckets of a rollup from the first to the last time of each series, in seconds.
insert into {anew:Identifier}
select
    series,
    toDateTime(
        intDiv(toUnixTimestamp64Micro(metric_points.at), {span:Int64} * 1000000) * {span:Int64},
        'UTC'
    ) as bucket,
    count() as points,
    sum(value) as total,
    min(value) as low,
    max(value) as high,
    stddevSampStableState(value) as deviation,
    quantilesDDState(0.02, 0.5)(
        if(abs(value) < 1e-9, 0., 1e9 * greatest(least(value, 1e18), -1e18))
    ) as sketch{bins}
from metric_points final
where series in {ids:Array(Int64)}
    and metric_points.at >= toDateTime64({begin:Int64}, 6, 'UTC')
    and metric_points.at < toDateTime64({end:Int64}, 6, 'UTC')
    and toUnixTimestamp64Micro(metric_points.at)
        >= 1000000 * transform(series, {ids:Array(Int64)}, {firsts:Array(Int64)}, toInt64(0))
    and toUnixTimestamp64Micro(metric_points.at)
        < 1000000 * transform(series, {ids:Array(Int64)}, {ends:Array(Int64)}, toInt64(0))
group by series, bucket

-- name: bins
-- What a rollup by the hour has beside that: how many values have which key of the sketch.
, sumMap(map(
    toInt16(if(
        abs(value) < 1e-9,
        0,
        sign(value) * (1 + floor(ln(1e9 * least(abs(value), 1e18)) / 0.040005334613699206))
    )),
    toUInt64(1)
)) as bins

-- name: remade
select distinct partition_id from system.parts
where active and database = currentDatabase() and table = {anew:String}

-- name: carry_over
-- The other buckets of the partitions that are made again.
insert into {anew:Identifier}
select * from {source:Identifier}
where _partition_id in {partitions:Array(String)}
    and not (
        series in {ids:Array(Int64)}
        and toUnixTimestamp(bucket)
            >= transform(series, {ids:Array(Int64)}, {firsts:Array(Int64)}, toInt64(0))
        and toUnixTimestamp(bucket)
            < transform(series, {ids:Array(Int64)}, {ends:Array(Int64)}, toInt64(0))
    )

-- name: chunks
select table, partition, sum(rows), sum(data_uncompressed_bytes), sum(bytes_on_disk), count()
from system.parts
where active and database = currentDatabase()
    and table in ('metric_points', 'metric_minute', 'metric_hour', 'metric_day')
group by table, partition
order by table, partition

-- name: counts
select any(name), any(labels), sum(rows)
from (select series, count() as rows from metric_points group by series) as counted
join metric_series using series
group by series

-- name: without_bins
-- Hours of the time before their bins were kept: their month and series, first and last in microseconds.
select toYYYYMM(bucket) as month, series, 1000000 * toUnixTimestamp(min(bucket)), 1000000 * toUnixTimestamp(max(bucket))
from metric_hour
where empty(bins) and bucket >= toDateTime({first:Date}, 'UTC')
group by month, series
order by month

-- name: drop
-- Before which day there are no points, if there were any: rollups by the day are kept always.
insert into metric_dropped
select {before:Date} where (select count() from metric_day where bucket < toDateTime({before:Date}, 'UTC')) > 0

-- name: dropped
select max(before) from metric_dropped

-- name: ttl
select name, engine_full from system.tables
where database = currentDatabase() and name in ('metric_points', 'metric_minute', 'metric_hour')
