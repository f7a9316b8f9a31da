-- name: altered_values
-- Entities of which a row, of now or before, has other values than were computed.
select distinct entity_id
from {table}
where not removed and value_hash <> md5(to_json(row({columns}))::varchar)
order by entity_id

-- name: append_changes
insert into {table} by name
select entity_id, event_time, known_time, removed, value_hash, {columns}
from changes
where action in ('added', 'changed', 'removed')
order by entity_id

-- name: arrivals
-- The entities that came in a time: their first values, as they were known last, since when any is known, and whether
-- they are gone now. Later rows do not count where one stands for all there is to know of an entity: most follow from
-- what others did, as the nearest distance does.
select version.*, known_since, gone
from (
    select
        min_by(rowid, (event_time, -epoch_us(known_time))) as place,
        min(known_time) as known_since,
        max_by(removed, (event_time, known_time)) as gone
    from {table}
    group by {entity}
) as arrived
join {table} as version on version.rowid = arrived.place
where not removed and event_time >= $since and event_time < $until

-- name: comparisons
-- What was found of a day, or of the last that has any.
select day, reference, outcome, message, first_day, reference_rows, current_rows, model_version
from drift_comparisons
where day = coalesce($day::date, (select max(day) from drift_comparisons))
order by reference

-- name: drift_strengths
-- Of each day from one on, by reference, the strongest drift as a multiple of its limit; 0 where nothing drifted.
select compared.day, compared.reference, coalesce(max(finding.strength) filter (where finding.drifted), 0)
from drift_comparisons as compared
left join feature_drift as finding using (day, reference)
where compared.day >= $since and compared.outcome in ('drift', 'no drift')
group by compared.day, compared.reference
order by all

-- name: compute_document_text
-- All documents with their features: of the text, just computed or as they were, and of the vectors.
-- Headings are embedded with the text, so equal texts need not have equal vectors; their distance is 0.
create or replace temp table computed as
with texts as (
    select {text_columns}, entity_id from computed_texts
    union all
    select {text_columns}, entity_id from ({current})
    where entity_id not in (select entity_id from computed_texts)
),
twins as (
    select text_hash
    from entities
    where removed_time is null
    group by text_hash
    having count(*) > 1
)
select
    entities.* exclude (text_hash),
    {text_columns},
    if(twins.text_hash is null, neighbours.nearest_distance, 0) as nearest_distance
from entities
left join twins on twins.text_hash = entities.text_hash and entities.removed_time is null
left join texts on texts.entity_id = entities.entity_id and entities.removed_time is null
left join neighbours on neighbours.entity_id = entities.entity_id

-- name: count_events
select count(*)
from (from {table} qualify row_number() over (partition by entity_id, event_time order by known_time desc) = 1)
where not removed

-- name: count_left_out
insert into left_out
select reason, count(*) from (select {reason} as reason from given) where reason is not null group by reason

-- name: coverage
with rows_of as (
    select entity_id, count(*) as rows from ({current}) group by entity_id
)
select
    count(live.entity_id) as live,
    count(*) filter (where rows_of.entity_id is null) as without_row,
    count(*) filter (where rows_of.rows > 1) as with_several,
    count(*) filter (where live.entity_id is null) as not_live
from live
full join rows_of using (entity_id)

-- name: current
-- The latest row of each entity that is not removed; two that are equally late both show. Found by keys and times alone:
-- a window would sort whole rows.
select version.*
from {table} as version
semi join (select entity_id, max((event_time, known_time)) as times from {table} group by entity_id) as latest
    on version.entity_id = latest.entity_id and (version.event_time, version.known_time) = latest.times
where not version.removed

-- name: current_of_history
-- The latest row of each entity whose event has come and was not taken back.
from {table}
where rowid in (
    select max_by(version, event_time)
    from (
        select entity_id, event_time, max_by(rowid, known_time) as version, max_by(removed, known_time) as removed
        from {table}
        where event_time <= current_timestamp
        group by entity_id, event_time
    )
    where not removed
    group by entity_id
)

-- name: documents_staged
-- The documents that have values, with their times, and those that were removed.
create or replace temp table computed as
select entities.* exclude (text_hash, input_hash), coalesce(nullif(staged.input_hash, ''), entities.input_hash) as input_hash, {columns}
from entities
left join staged on staged.entity_id = entities.entity_id and entities.removed_time is null
where staged.entity_id is not null or entities.removed_time is not null

-- name: entities_staged
create or replace temp table computed as
select
    entity_id,
    null::timestamptz as first_time,
    $state_time::timestamptz as changed_time,
    null::timestamptz as removed_time,
    input_hash,
    {columns}
from staged

-- name: drift_statistics
-- Statistics of each day and number among the features of a view, or of a category among them.
-- The key of the sketch is computed in `features.drift.summary` too.
insert into feature_statistics by name
with came as ({arrivals}),
numbers as (
    select event_time::date as day, unnest($numbers) as feature, unnest([{numbers}]::double[]) as given from came
),
finite as (
    select day, feature, if(isfinite(given), given, null) as value from numbers
),
keyed as (
    select
        *,
        if(abs(value) < 1e-9, 0, sign(value) * (round_even(1000 * ln(greatest(abs(value), 1e-9)), 0) + 21000))::integer
            as key
    from finite
),
names as (
    select event_time::date as day, unnest($categories) as feature, unnest([{categories}]::varchar[]) as value
    from came
)
select
    $view as view, $version as version, day, feature,
    count(*) as rows,
    count(*) - count(value) as missing,
    avg(value) as mean,
    stddev_pop(value) as deviation,
    quantile_disc(value, [0, .01, .05, .25, .5, .75, .95, .99, 1]) as quantiles,
    histogram(key) filter (where value is not null) as sketch,
    null as categories
from keyed
group by day, feature
union all by name
select
    $view as view, $version as version, day, feature,
    count(*) as rows,
    count(*) - count(value) as missing,
    histogram(value) filter (where value is not null) as categories
from names
group by day, feature

-- name: drop_repeated
-- Of rows with the same entity and times the last counts.
create or replace temp table staged as
from staged
qualify row_number() over (partition by entity_id, event_time, known_time order by place desc) = 1

-- name: entities
-- About so many, removed ones too: cheap.
select approx_count_distinct(entity_id) from {table}

-- name: entities_to_compute
-- The live documents whose text has no values yet, or values of an earlier text.
select entity_id
from entities
anti join (from feature_inputs where view = $view) as inputs using (entity_id, input_hash)
where removed_time is null
order by entity_id

-- name: events_came
select exists (from {table} where event_time > known_time and event_time > $since and event_time <= current_timestamp)

-- name: first_known
-- Since when there are values of an entity, and since when any is known.
select min(event_time), min(known_time) from {table} where entity_id = ? and not removed

-- name: findings
select
    feature, aspect, test, psi, wasserstein, effect, strength, p_value, q_value, drifted, before, now
from feature_drift
where day = $day and reference = $reference
order by drifted desc, strength desc, feature, aspect

-- name: follows_from_later
-- Entities with a row of before a moment that what was there before it does not give.
select distinct entity_id
from whole
anti join staged
    on staged.entity_id = whole.entity_id
    and staged.event_time = whole.event_time
    and {same}
where whole.event_time < $moment

-- name: forget_altered
-- Rows with other values than were computed, and all but one of those that stand twice.
delete from {table}
where (not removed and value_hash <> md5(to_json(row({columns}))::varchar))
    or rowid not in (select min(rowid) from {table} group by entity_id, event_time, known_time)

-- name: forget_inputs
delete from feature_inputs
where view = $view and not exists (
    from changes
    where changes.entity_id = feature_inputs.entity_id
        and changes.input_hash = feature_inputs.input_hash
        and changes.action in ('added', 'changed', 'unchanged')
)

-- name: forget_left_out
delete from feature_rows_left_out where view = $view

-- name: forget_neighbours
delete from document_neighbours
where not exists (
    from neighbours
    where neighbours.entity_id = document_neighbours.entity_id
        and neighbours.vector_hash = document_neighbours.vector_hash
        and neighbours.neighbour_id is not distinct from document_neighbours.neighbour_id
        and neighbours.nearest_distance is not distinct from document_neighbours.nearest_distance
)

-- name: forget_statistics
delete from feature_statistics
where view = $view and version = $version and day >= $since and day < $until

-- name: forget_vectors
delete from document_vectors
where not exists (
    from vector_hashes
    where vector_hashes.entity_id = document_vectors.entity_id
        and vector_hashes.vector_hash = document_vectors.vector_hash
)

-- name: known_neighbours
-- Of the documents whose vector is as it was, and that of their nearest: the places of both, and the distance.
with kept as (
    select entity_id, place, neighbour_id, nearest_distance
    from document_neighbours join places using (entity_id, vector_hash)
)
select kept.place, other.place as nearest, kept.nearest_distance as distance
from kept join kept as other on other.entity_id = kept.neighbour_id

-- name: label_statistics
-- The labels of the documents that came each day; one that has none yet is not missing.
insert into feature_statistics by name
select
    $view as view, $version as version, day, $view as feature,
    count(*) as rows, 0 as missing, histogram(label) as categories
from labels
group by day

-- name: labelled_values
select dense_rank() over (order by label) - 1 as label, {columns}
from labels
join ({current}) using (entity_id)
order by entity_id

-- name: left_out
select reason, rows from feature_rows_left_out where view = ? order by rows desc, reason

-- name: moments_after_rows
-- When the first document came after each of some rows, always the same ones.
select distinct documents.event_time
from (select event_time from whole order by md5(entity_id || event_time) limit $times) as chosen
asof join documents on chosen.event_time < documents.event_time
order by all

-- name: next_known_time
select greatest($1, max(known_time) + interval 1 microsecond) from {table}

-- name: online_rows
select
    entity_id,
    value_hash || if($expire, '@' || epoch_us(event_time), '') as revision,
    epoch_us(event_time) as event_time,
    {columns}
from ({current})
-- Side by side in the copy, where that is sorted, too.
order by entity_id

-- name: online_rows_of
select
    entity_id,
    value_hash || if($expire, '@' || epoch_us(event_time), '') as revision,
    epoch_us(event_time) as event_time,
    {columns}
from ({current})
where entity_id in (select unnest($entity_ids))

-- name: point_in_time_join
-- The values of one view, as known at the cutoff of each spine row, about its moment; times in microseconds. A spine row
-- of which nothing was known, or nothing that is young enough, is left out.
-- Of the events that come before, each as it was known last by the cutoff, the latest counts; one that was taken back by
-- then does not: its version is less than 0. The nearest row is found as there are few spine rows of an entity, or many.
-- Both tables are read where they are asked: kept, as DuckDB would, all rows are copied once more.
with keys as not materialized (
    select
        spine_row,
        entity_id,
        epoch_us({moment}) as moment,
        epoch_us({moment}) - $reach as since,
        coalesce(epoch_us({known_by}), 9223372036854775807) as cutoff
    from spine
),
versions as not materialized (
    select entity_id, epoch_us(event_time) as event, epoch_us(known_time) as known, {version} as version from {table}
),
nearest as ({nearest}),
chosen as ({chosen})
select spine_row, feature.event_time as {event_time}, {columns}
from chosen join {table} as feature on feature.rowid = version and not feature.removed

-- name: nearest_to_few
-- Each row of the table meets the few spine rows of its entity: nothing is sorted. What was not known yet is left out.
select spine_row, max_by(version, event::hugeint * 18446744073709551616 + known) as version
from keys join versions
    on keys.entity_id = versions.entity_id and moment {from} event and {is_young} and {is_known}
group by spine_row

-- name: nearest_to_many
-- The ASOF join over all rows; both times are one number, the event first. Of an earlier event it finds what was known
-- last; where that was not known by the cutoff, its version is less than 0, too.
with asked as (
    select *, moment::hugeint * 18446744073709551616 + {last} as both_times from keys
),
by_time as (
    select *, event::hugeint * 18446744073709551616 + known as both_times
    from versions
    where known <= (select max(cutoff) from keys)
)
select spine_row, if({is_known}, version, -1) as version
from asked asof join by_time
    on asked.entity_id = by_time.entity_id and asked.both_times >= by_time.both_times
where {is_young}

-- name: earlier_of_late
-- Where the version of the nearest row is less than 0, all rows that are allowed are looked at. Of the moment itself the
-- first look has found all that counts.
with allowed as (
    select spine_row, event, max_by(versions.version, known) as version
    from nearest
    join keys using (spine_row)
    join versions
        on keys.entity_id = versions.entity_id and moment > event and {is_young} and {is_known}
    where nearest.version < 0
    group by spine_row, event
),
earlier as (
    select spine_row, max_by(version, event) as version from allowed where version >= 0 group by spine_row
)
select spine_row, if(nearest.version < 0, earlier.version, nearest.version) as version
from nearest left join earlier using (spine_row)

-- name: ranges
select
    bounds.feature,
    count(*) filter (where present) as values,
    count(*) filter (where not present) as unknown,
    count(*) filter (where not present and bounds.refused) as refused,
    count(*) filter (where not isfinite(value)) as not_finite,
    count(*) filter (where isfinite(value) and value < minimum) as below,
    count(*) filter (where isfinite(value) and value > maximum) as above
from (
    select
        unnest($features) as feature,
        unnest([{numbers}]::double[]) as value,
        unnest([{present}]) as present
    from ({current})
) as flat
join (
    select
        unnest($features) as feature,
        unnest($minima) as minimum,
        unnest($maxima) as maximum,
        unnest($refused) as refused
) as bounds using (feature)
group by bounds.feature
order by list_position($features, bounds.feature)

-- name: read_statistics
select view, feature, rows, missing, mean, deviation, sketch, categories
from feature_statistics
where day >= $since and day < $until
    and list_contains($views, view || '_v' || version)
order by view, feature, day

-- name: revisions
select entity_id, value_hash || if($expire, '@' || epoch_us(event_time), '') from ({current})

-- name: rows_to_compute
-- The rows whose inputs have no values yet.
select entity_id, {inputs}
from staged
anti join (from feature_inputs where view = $view) as known using (entity_id, input_hash)
order by place

-- name: save_inputs
insert into feature_inputs (view, entity_id, input_hash)
select $view, entity_id, input_hash
from changes
where action in ('added', 'changed', 'unchanged')
    and entity_id not in (select entity_id from feature_inputs where view = $view)

-- name: save_left_out
insert into feature_rows_left_out
select $view, reason, sum(rows) from left_out where rows > 0 group by reason

-- name: save_neighbours
insert into document_neighbours by name
from neighbours
where entity_id not in (select entity_id from document_neighbours)

-- name: save_state
insert or replace into feature_states (view, state_hash, changed_time, refreshed_time)
values ($view, $state_hash, $state_time, $known_time)

-- name: save_vectors
insert into document_vectors by name
select entity_id, vector_hash, vector::float[] as vector
from vectors join vector_hashes using (entity_id)

-- name: stage_changes
-- Compare what was computed with the latest rows: one line per entity, saying what is to be done.
create or replace temp table changes as
with latest as (
    select entity_id, event_time, removed, value_hash
    from {table}
    where rowid in (select max_by(rowid, (event_time, known_time)) from {table} group by entity_id)
),
inputs as (
    select entity_id, input_hash from feature_inputs where view = $view
),
last_refresh as (
    select max(changed_time) as changed_time from feature_states where view = $view
),
typed as (
    select entity_id, first_time, changed_time, removed_time, input_hash, {typed_columns} from computed
),
hashed as (
    select *, md5(to_json(row({columns}))::varchar) as new_hash from typed
),
judged as (
    select
        coalesce(hashed.entity_id, latest.entity_id) as entity_id,
        case
            when hashed.entity_id is null or removed_time is not null
                then if(latest.removed = false, 'removed', null)
            when latest.entity_id is null or latest.removed then 'added'
            when latest.value_hash <> hashed.new_hash then 'changed'
            else 'unchanged'
        end as action,
        case
            when hashed.entity_id is null then $known_time
            when removed_time is not null then removed_time
            when latest.entity_id is null then coalesce(first_time, hashed.changed_time)
            when latest.removed or inputs.input_hash is distinct from hashed.input_hash
                then hashed.changed_time
            when $state_time > last_refresh.changed_time then $state_time
            else latest.event_time
        end as candidate_time,
        latest.event_time as latest_time,
        hashed.* exclude (entity_id)
    from hashed
    full join latest using (entity_id)
    left join inputs on inputs.entity_id = hashed.entity_id
    cross join last_refresh
)
select
    entity_id,
    action,
    greatest(candidate_time, coalesce(latest_time, candidate_time)) as event_time,
    $known_time::timestamptz as known_time,
    coalesce(action = 'removed', false) as removed,
    input_hash,
    if(action = 'removed', '', new_hash) as value_hash,
    {columns}
from judged

-- name: stage_computed
-- All rows with their features: those just computed, and those whose inputs are as they were.
create or replace temp table staged as
with valued as (
    select entity_id, {columns} from computed_rows
    union all
    select entity_id, {columns} from ({current}) anti join computed_rows using (entity_id)
)
select entity_id, event_time, known_time, place, input_hash, {columns}
from staged join valued using (entity_id)

-- name: stage_history
-- Compare the events that a source gives with those that are stored: one line for each row to append, and one
-- for each event that is as it was.
--   own      rows with a time of knowledge of their own that is not stored yet
--   latest   what an event is by now, where what is stored says otherwise: known from now on
--   gone     events that are given no more
create or replace temp table changes as
with offered as (
    select entity_id, event_time, known_time, md5(to_json(row({columns}))::varchar) as value_hash, {columns}
    from staged
),
stored as (
    select entity_id, event_time, known_time, removed, value_hash from {table}
),
own as (
    select offered.*
    from offered
    anti join stored using (entity_id, event_time, known_time)
    where known_time is not null
),
after as (
    select entity_id, event_time, arg_max(value_hash, known_time) as value_hash
    from (
        select entity_id, event_time, known_time, value_hash from stored
        union all
        select entity_id, event_time, known_time, value_hash from own
    )
    group by entity_id, event_time
),
before as (
    select entity_id, event_time, arg_max(removed, known_time) as removed
    from stored
    group by entity_id, event_time
),
latest as (
    select offered.*, after.value_hash is distinct from offered.value_hash as differs
    from offered
    left join after using (entity_id, event_time)
    qualify row_number() over (partition by entity_id, event_time order by offered.known_time desc nulls last) = 1
),
appended as (
    select entity_id, event_time, known_time, value_hash, {columns} from own
    union all
    select entity_id, event_time, $known_time::timestamptz as known_time, value_hash, {columns} from latest where differs
)
select
    entity_id, event_time, known_time, false as removed, value_hash,
    if(before.removed = false, 'changed', 'added') as action,
    {columns}
from appended
left join before using (entity_id, event_time)
union all by name
select entity_id, event_time, $known_time::timestamptz as known_time, true as removed, '' as value_hash, 'removed' as action
from before
anti join offered using (entity_id, event_time)
where not removed
union all by name
select latest.entity_id, latest.event_time, 'unchanged' as action
from latest
anti join appended using (entity_id, event_time)

-- name: statistics
select
    feature,
    count(*) filter (where present) as known,
    count(*) filter (where not present) as unknown,
    min(value) as minimum,
    avg(value) as mean,
    median(value) as median,
    max(value) as maximum
from (
    select
        unnest($features) as feature,
        unnest([{numbers}]::double[]) as value,
        unnest([{present}]) as present
    from ({current})
)
group by feature
order by list_position($features, feature)

-- name: stored_tables
-- The tables of views, by what all of them have: a table that a person made beside them is none.
select table_name
from duckdb_columns()
where database_name = current_database() and schema_name = 'main'
    and regexp_full_match(table_name, 'features_[a-z][a-z0-9_]*_v[1-9][0-9]*')
    and column_name in ('entity_id', 'event_time', 'known_time', 'removed', 'value_hash')
    and table_name in (select table_name from duckdb_tables())
group by table_name
having count(*) = 5
order by table_name

-- name: vectors_to_read
select entity_id from vector_hashes anti join document_vectors using (entity_id) order by entity_id

-- name: version
select coalesce(md5(string_agg(entity_id || value_hash, '' order by entity_id)), '') from ({current})

-- name: write_comparison
insert into drift_comparisons by name
select
    $day as day, $reference as reference, $outcome as outcome, $message as message, $first_day as first_day,
    $reference_rows as reference_rows, $current_rows as current_rows, $model_version as model_version

-- name: write_finding
insert into feature_drift by name
select
    $day as day, $reference as reference, $feature as feature, $aspect as aspect, $test as test, $psi as psi,
    $wasserstein as wasserstein, $effect as effect, $strength as strength, $p_value as p_value, $q_value as q_value,
    $drifted as drifted, $before as before, $now as now

-- name: metric_points
-- What the days of a span of time were found to have drifted by, a series per row; times in microseconds.
with views as (select feature, any_value(view) as view from feature_statistics group by feature),

found as (
    select
        day, reference, feature, aspect, views.view, model_version,
        unnest(['strength', 'effect', 'q_value']) as metric, unnest([strength, effect, q_value]) as value
    from feature_drift
    join drift_comparisons using (day, reference)
    left join views using (feature)
    where day >= $begin::date and day < $end::date
)

select
    'drift_' || metric as metric, list(epoch_us(day::timestamp) order by day) as times,
    list(value order by day) as values, reference, view, feature, aspect, model_version as version
from found
group by metric, reference, view, feature, aspect, model_version
