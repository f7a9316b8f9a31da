-- For every spine row: the values of one view, as known at the row's cutoff, about its event time.
-- Of the rows with event_time <= the label's and known_time <= the cutoff: the latest event time, then
-- the latest known time. One ASOF join compares one time only, so:
--   nearest  the ASOF join on event_time over all rows (the last known of each event time). It looks
--            among more rows than are allowed; where its answer was known by the cutoff, it is right.
--   late     the other spine rows, whose answer arrived after their cutoff: search all allowed rows.
with keys as (
    select
        spine_row,
        entity_id,
        event_time at time zone 'UTC' as event_time,
        coalesce(cutoff at time zone 'UTC', 'infinity'::timestamptz) as cutoff
    from spine
),
versions as (
    select entity_id, event_time, max(known_time) as known_time, max_by(rowid, known_time) as version
    from {table}
    where known_time <= (select max(cutoff) from keys)
    group by entity_id, event_time
),
nearest as materialized (
    select keys.*, versions.version, versions.known_time
    from keys asof left join versions
        on keys.entity_id = versions.entity_id and keys.event_time >= versions.event_time
),
late as (
    select
        nearest.spine_row,
        max_by(earlier.rowid, row(earlier.event_time, earlier.known_time)) as version
    from nearest join {table} as earlier
        on nearest.entity_id = earlier.entity_id
        and nearest.event_time >= earlier.event_time
        and nearest.cutoff >= earlier.known_time
    where nearest.known_time > nearest.cutoff
    group by nearest.spine_row
),
chosen as (
    select spine_row, event_time, version
    from nearest where known_time <= cutoff or known_time is null
    union all
    select spine_row, nearest.event_time, late.version
    from nearest left join late using (spine_row) where nearest.known_time > nearest.cutoff
)
select chosen.spine_row, feature.event_time as {event_time}, {columns}
from chosen left join {table} as feature
    on feature.rowid = chosen.version
    and not feature.removed
    and ($ttl is null or chosen.event_time - feature.event_time <= to_seconds($ttl))
order by chosen.spine_row
