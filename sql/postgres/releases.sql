-- name: close_release
-- A clock that was set back makes no empty range.
update releases
set served = tstzrange(lower(served), greatest(clock_timestamp(), lower(served) + interval '1 microsecond'))
where upper_inf(served)

-- name: count_entries
select count(*) as entries
from model_audit_logs
where (%(subject)s::text is null or subject = %(subject)s) and (%(action)s::text is null or action = %(action)s)

-- name: first_broken_entry
-- Each entry names the hash of the entry before it, and its own hash follows from its content.
with chain as (
    select
        entry_id,
        previous_hash = lag(entry_hash, 1, '\x'::bytea) over (order by entry_id) as linked,
        entry_hash = audit_hash(previous_hash, logged_at, actor, action, subject, reason, details)
            as sound
    from model_audit_logs
)
select
    entry_id || ': '
    || case when linked then 'its content was altered' else 'the entry before it is missing or altered' end
from chain
where not (linked and sound)
order by entry_id
limit 1

-- name: last_entries
select * from (
    select entry_id, logged_at, actor, action, subject, reason, details
    from model_audit_logs
    order by entry_id desc
    limit %(most)s
) as newest
order by entry_id

-- name: last_entry
select subject, details
from model_audit_logs
where action = any(%(actions)s)
order by entry_id desc
limit 1

-- name: lift_withdrawals
-- What is served is not withdrawn.
delete from withdrawals w
using releases r
where upper_inf(r.served) and to_jsonb(r) ->> w.part = w.identity

-- name: missing_entries
-- Releases that no entry of the audit log tells of: there are fewer entries of an action than releases.
select 'releases_without_audit_entry' as problem, release_id::text as name
from (
    select release_id, action, row_number() over (partition by action order by release_id desc) as latest
    from releases
) as numbered
where latest > (select count(*) from model_audit_logs as log where log.action = numbered.action)

-- name: open_release
-- It begins where the one before was closed.
insert into releases
    (space_id, generation_id, feature_views, model_name, model_version, model_space_id, served, actor, action, reason)
select
    %(space_id)s, %(generation_id)s, %(feature_views)s, %(model_name)s, %(model_version)s, %(model_space_id)s,
    tstzrange(coalesce(max(upper(served)), clock_timestamp()), null), %(actor)s, %(action)s, %(reason)s
from releases

-- name: releases
-- Newest first; of all times, or of one: what is served now is served at infinity.
select
    release_id, space_id, generation_id, feature_views, model_name, model_version, model_space_id,
    lower(served) as served_from, upper(served) as served_until, actor, action, reason
from releases
where %(at)s::timestamptz is null or served @> %(at)s::timestamptz
order by lower(served) desc

-- name: services
-- Since when each value of a part is or was served, by whom, and until when; the last time of several.
with parts as (
    select
        served, actor, reason,
        to_jsonb(releases) ->> %(part)s as identity,
        lag(to_jsonb(releases) ->> %(part)s) over (order by lower(served)) as before
    from releases
)
select
    identity,
    max(lower(served)) filter (where identity is distinct from before) as served_from,
    case when not bool_or(upper_inf(served)) then max(upper(served)) end as served_until,
    (array_agg(actor order by lower(served) desc) filter (where identity is distinct from before))[1] as actor,
    (array_agg(reason order by lower(served) desc) filter (where identity is distinct from before))[1] as reason
from parts
where identity is not null
group by identity

-- name: withdraw_left
-- The parts that the release before the present one had, and the present one has not.
insert into withdrawals (part, identity, actor, reason)
select part, to_jsonb(before) ->> part, present.actor, present.reason
from releases present
join releases before on upper(before.served) = lower(present.served)
cross join unnest(%(parts)s::text[]) as part
where upper_inf(present.served)
    and to_jsonb(before) ->> part is not null
    and to_jsonb(before) ->> part is distinct from to_jsonb(present) ->> part
on conflict (part, identity) do update
set actor = excluded.actor, reason = excluded.reason, withdrawn_at = now()

-- name: withdrawals
select identity, actor, reason, withdrawn_at from withdrawals where part = %(part)s
