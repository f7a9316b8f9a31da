-- name: close_release
-- A clock that was set back makes no empty range.
update releases
set served = tstzrange(lower(served), greatest(clock_timestamp(), lower(served) + interval '1 microsecond'))
where upper_inf(served)

-- name: holding_alerts
-- The critical alerts that are open, and that nobody silenced.
select rule || case when subject = '' then '' else '/' || subject end as name
from alerts
where severity = 'critical' and opened_at is not null and coalesce(silenced_until <= clock_timestamp(), true)
order by name

-- name: count_entries
select count(*) as entries
from model_audit_logs
where (%(subject)s::text is null or subject = %(subject)s) and (%(action)s::text is null or action = %(action)s)

-- name: all_entries
-- As JSON, from which each hash can be computed elsewhere, the oldest first.
select
    to_jsonb(log) - 'previous_hash' - 'entry_hash'
    || jsonb_build_object('previous_hash', encode(previous_hash, 'hex'), 'entry_hash', encode(entry_hash, 'hex'))
from model_audit_logs log
order by entry_id

-- name: anchor_entry
-- Of the home with this key; without one the first of any home.
select min(entry_id)
from model_audit_logs
where action = any(array['anchor', 'anchor anew'])
    and (%(public_key)s::text is null or details ->> 'public_key' = %(public_key)s)

-- name: last_restore
-- The time of the last entry by which the log may have gone back to an earlier state.
select max(logged_at) from model_audit_logs where action = any(array['restore', 'anchor anew'])

-- name: head
-- The last entry; and whether we may write another.
select entry_id, encode(entry_hash, 'hex') as entry_hash, has_table_privilege('model_audit_logs', 'insert') as writes
from model_audit_logs
order by entry_id desc
limit 1

-- name: first_broken_entry
-- Each entry names the hash of the entry before it, its own hash follows from its content, and the last one is the
-- last that was written.
with chain as (
    select
        entry_id,
        previous_hash = lag(entry_hash, 1, case when %(since)s > 0 then previous_hash else '\x'::bytea end)
            over (order by entry_id) as linked,
        entry_hash = audit_hash(previous_hash, logged_at, actor, action, subject, reason, details, address)
            as sound
    from model_audit_logs
    where entry_id >= %(since)s
)
select broken
from (
    select
        entry_id,
        entry_id || ': '
        || case when linked then 'its content was altered' else 'the entry before it is missing or altered' end as broken
    from chain
    where not (linked and sound)
    union all
    -- The chain is sound, and ends otherwise than by our function: behind its last entry others were put in, or that
    -- is missing, or another is in its place.
    select null, case
        when appended is not null then appended || ': it was put in by another hand, behind the last entry'
        when replaced then head.entry_id || ': another entry is in its place, which was the last'
        else coalesce(least(last + 1, head.entry_id), last + 1) || ': it is missing: the end was cut off'
    end
    from audit_head as head
    cross join lateral (
        select
            coalesce(max(entry_id), 0) as last,
            (array_agg(entry_hash) filter (where is_last))[1] is not distinct from head.entry_hash as ends,
            coalesce(bool_or(entry_id = head.entry_id and entry_hash <> head.entry_hash), false) as replaced,
            min(entry_id) filter (where follows) as appended
        from (
            select
                entry_id, entry_hash, lead(entry_id) over (order by entry_id) is null as is_last,
                lag(entry_hash) over (order by entry_id) = head.entry_hash as follows
            from model_audit_logs
        ) as placed
    ) as log
    where not ends
) as found
order by entry_id nulls last
limit 1

-- name: last_entries
select * from (
    select entry_id, logged_at, actor, action, subject, reason, details, address
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

-- name: entries_of
-- Of all subjects that begin so, the oldest first.
select entry_id, logged_at, actor, action, subject, reason, details, address
from model_audit_logs
where starts_with(subject, %(prefix)s)
order by entry_id

-- name: lift_withdrawals
-- What is served is not withdrawn.
delete from withdrawals w
using releases r
where upper_inf(r.served) and to_jsonb(r) ->> w.part = w.identity

-- name: open_release
-- It begins where the one before was closed.
insert into releases
    (space_id, generation_id, feature_views, model_name, model_version, model_space_id, served, actor, action, reason)
select
    %(space_id)s, %(generation_id)s, %(feature_views)s, %(model_name)s, %(model_version)s, %(model_space_id)s,
    tstzrange(coalesce(max(upper(served)), clock_timestamp()), null), %(actor)s, %(action)s, %(reason)s
from releases
returning jsonb_build_object('release_id', release_id, 'served_from', lower(served))

-- name: releases
-- Newest first; of all times, or of one: what is served now is served at infinity.
select
    release_id, space_id, generation_id, feature_views, model_name, model_version, model_space_id,
    lower(served) as served_from, upper(served) as served_until, actor, action, reason
from releases
where %(at)s::timestamptz is null or served @> %(at)s::timestamptz
order by lower(served) desc

-- name: restore_releases
-- From the audit log, in which each stands with its parts and its time.
with logged as (
    select
        (details -> 'release' ->> 'release_id')::bigint as release_id, actor, action, reason, details -> 'served' as parts,
        (details -> 'release' ->> 'served_from')::timestamptz as served_from,
        lead((details -> 'release' ->> 'served_from')::timestamptz) over (order by entry_id) as served_until
    from model_audit_logs
    where details ? 'release'
)
insert into releases
    (release_id, space_id, generation_id, feature_views, model_name, model_version, model_space_id, served, actor, action, reason)
overriding system value
select
    logged.release_id, parts.space_id, parts.generation_id, parts.feature_views, parts.model_name, parts.model_version,
    parts.model_space_id, tstzrange(served_from, served_until), logged.actor, logged.action, logged.reason
from logged
cross join lateral jsonb_populate_record(null::releases, logged.parts) as parts

-- name: forget_logged
-- The releases of all the time of which the audit log tells what was served.
delete from releases
where upper_inf(served) or upper(served) > (
    select min((details -> 'release' ->> 'served_from')::timestamptz) from model_audit_logs where details ? 'release'
)

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

-- name: unlike_the_log
-- Releases that are not, or not as, the audit log tells; those of before it told of them are not compared.
with logged as (
    select
        (details -> 'release' ->> 'release_id')::bigint as release_id, actor, action, reason, details -> 'served' as parts,
        (details -> 'release' ->> 'served_from')::timestamptz as served_from,
        lead((details -> 'release' ->> 'served_from')::timestamptz) over (order by entry_id) as served_until
    from model_audit_logs
    where details ? 'release'
), kept as (
    select
        release_id, actor, action, reason,
        to_jsonb(releases) - '{release_id,served,actor,action,reason}'::text[] as parts,
        lower(served) as served_from, upper(served) as served_until
    from releases
    where upper_inf(served) or upper(served) > (select min(served_from) from logged)
)
select
    case
        when kept.release_id is null then 'missing_releases'
        when logged.release_id is null then 'unlogged_releases'
        else 'altered_releases'
    end as problem,
    coalesce(kept.release_id, logged.release_id)::text as name
from kept
full join logged using (release_id)
where to_jsonb(kept) is distinct from to_jsonb(logged) and exists (select from logged)

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
select identity, actor, reason from withdrawals where part = %(part)s

-- name: login
-- The owner of the tables; whether a login could write whatever is granted to it, and why.
select
    pg_get_userbyid(n.nspowner), r.rolsuper or pg_has_role(r.oid, n.nspowner, 'usage'),
    case when r.rolsuper then 'is a superuser' else 'is, or is a member of, the owner of the tables' end
from pg_roles r
cross join pg_namespace n
where r.rolname = %(login)s and n.nspname = 'ml_schema'

-- name: viewer_grants
grant usage on schema ml_schema to {login};
revoke insert, update, delete, truncate, trigger, references on all tables in schema ml_schema from {login};
revoke usage, update on all sequences in schema ml_schema from {login};
grant select on all tables in schema ml_schema to {login};
alter default privileges for role {owner} in schema ml_schema grant select on tables to {login};

-- name: make_salt
insert into forgotten_salt (salt) values (%(salt)s) on conflict do nothing

-- name: begin_forgetting
insert into forget_requests (request_id, actor, host, documents)
values (%(request_id)s, %(actor)s, %(host)s, %(documents)s)
on conflict do nothing

-- name: remember_forgotten
insert into forgotten (kind, digest, request_id)
select kind, digest, %(request_id)s
from unnest(%(kinds)s::text[], %(digests)s::bytea[]) as given (kind, digest)
on conflict do nothing

-- name: complete_forgetting
update forget_requests
set completed_at = clock_timestamp()
where request_id = %(request_id)s and completed_at is null

-- name: forget_requests
select request_id, requested_at, actor, host, documents, completed_at
from forget_requests
order by requested_at
