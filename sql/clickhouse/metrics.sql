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
    arrayMap(level -> level / 1e9, {quantiles}) as quantiles
from {source:Identifier}
where series in {ids:Array(Int64)}
    and bucket >= toDateTime({begin:Int64}, 'UTC') and bucket < toDateTime({end:Int64}, 'UTC')
group by place, at
order by place, at
settings merge_tree_min_rows_for_concurrent_read = 4096, merge_tree_min_bytes_for_concurrent_read = 1048576

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
    ) as sketch
from metric_points final
where series in {ids:Array(Int64)}
    and metric_points.at >= toDateTime64({begin:Int64}, 6, 'UTC')
    and metric_points.at < toDateTime64({end:Int64}, 6, 'UTC')
    and toUnixTimestamp64Micro(metric_points.at)
        >= 1000000 * transform(series, {ids:Array(Int64)}, {firsts:Array(Int64)}, toInt64(0))
    and toUnixTimestamp64Micro(metric_points.at)
        < 1000000 * transform(series, {ids:Array(Int64)}, {ends:Array(Int64)}, toInt64(0))
group by series, bucket

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

-- name: ttl
select name, engine_full from system.tables
where database = currentDatabase() and name in ('metric_points', 'metric_minute', 'metric_hour')
