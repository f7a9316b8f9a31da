-- How many values of an hour have which key of its sketch: a quantile of a bucket that is one row is read from them, where to build
-- a sketch for each bucket takes twice as long. Keys are floor(log(1e9 |value|) to the base of 1.02 / 0.98) + 1 with the sign of the
-- value, and 0 below 1e-9. What is made of more rows is still added up by sketches, which is faster than maps are. Hours that were
-- there have none, and are asked by their sketches, until `maintain` has made them again from points.
alter table metric_hour
    add column if not exists bins SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) codec(LZ4);

alter table metric_hour_anew
    add column if not exists bins SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) codec(LZ4);

alter table metric_hour_of_points modify query
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
    ) as sketch,
    sumMap(map(
        toInt16(if(
            abs(value) < 1e-9,
            0,
            sign(value) * (1 + floor(ln(1e9 * least(abs(value), 1e18)) / 0.040005334613699206))
        )),
        toUInt64(1)
    )) as bins
from metric_points
group by series, bucket;

-- Before which day points were dropped while less of them was kept: rollups have them still, so that day is the first of which points
-- are written, however much is kept later.
create table if not exists metric_dropped (
    before Date
) engine = ReplacingMergeTree order by before;
