-- Compare what was computed with the latest rows: one line per entity, saying what is to be done.
create or replace temp table changes as
with latest as (
    select entity_id, event_time, removed, value_hash
    from {table}
    qualify row_number() over (partition by entity_id order by event_time desc, known_time desc) = 1
),
inputs as (
    select entity_id, input_hash from feature_inputs where view = $view
),
last_refresh as (
    select max(changed_time) as changed_time from feature_states where view = $view
),
typed as (
    select entity_id, first_time, changed_time, removed_time, input_hash, {typed_columns} from {computed}
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
