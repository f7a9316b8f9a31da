-- name: alerts
-- Every alert, as it stands.
select rule, subject, severity, matching, since, until, value, opened_at, dismissed, silenced_until, told_at,
    resolved_at
from alerts
order by rule, subject

-- name: write_alert
insert into alerts (
    rule, subject, severity, matching, since, until, value, opened_at, dismissed, silenced_until, told_at, resolved_at
) values (
    %(rule)s, %(subject)s, %(severity)s, %(matching)s, %(since)s, %(until)s, %(value)s, %(opened_at)s,
    %(dismissed)s, %(silenced_until)s, %(told_at)s, %(resolved_at)s
)
on conflict (rule, subject) do update set
    severity = excluded.severity,
    matching = excluded.matching,
    since = excluded.since,
    until = excluded.until,
    value = excluded.value,
    opened_at = excluded.opened_at,
    dismissed = excluded.dismissed,
    silenced_until = excluded.silenced_until,
    told_at = excluded.told_at,
    resolved_at = excluded.resolved_at

-- name: append_event
insert into alert_events (at, kind, rule, subject, severity, value, message, actor, reason)
values (
    %(at)s, %(kind)s, %(rule)s, %(subject)s, %(severity)s, %(value)s, %(message)s, %(actor)s, %(reason)s
)
returning event_id

-- name: last_opening
-- The event that opened an alert last: it is told when a silence ends.
select max(event_id) from alert_events
where kind = 'opened' and rule = %(rule)s and subject = %(subject)s

-- name: add_delivery
insert into alert_deliveries (event_id, recipient, due_at) values (%(event_id)s, %(recipient)s, %(due_at)s)
on conflict (event_id, recipient) do nothing

-- name: told_recipients
-- Who was told, or is still to be told, that an alert opened.
select recipient from alert_deliveries where event_id = %(event_id)s order by recipient

-- name: due_delivery
-- Of each recipient the first that waits, so that none hears of an end before the beginning.
select waiting.delivery_id, waiting.recipient, waiting.attempts, event.kind, event.rule, event.subject,
    event.severity, event.at, event.value, event.message
from alert_deliveries as waiting
inner join alert_events as event using (event_id)
where waiting.delivered_at is null
    and waiting.due_at <= %(now)s
    and not exists (
        select from alert_deliveries as earlier
        where earlier.recipient = waiting.recipient
            and earlier.delivered_at is null
            and earlier.event_id < waiting.event_id
    )
order by event_id, recipient
limit 1
for update of waiting

-- name: record_delivery
update alert_deliveries set
    attempts = attempts + 1,
    delivered_at = %(delivered_at)s,
    due_at = %(due_at)s,
    error = %(error)s
where delivery_id = %(delivery_id)s

-- name: waiting_deliveries
-- What could not be delivered yet, by recipient, with the last reason.
select recipient, count(*) as waiting, max(attempts) as attempts, max(error) as error
from alert_deliveries
where delivered_at is null
group by recipient
order by recipient

-- name: events
-- What happened to alerts in a time, and how many of those who are to know of it were told.
select event.at, event.kind, event.severity, event.rule, event.subject, event.value, event.message, event.actor,
    event.reason, count(delivery.delivered_at) as told, count(delivery.delivery_id) as recipients
from alert_events as event
left join alert_deliveries as delivery using (event_id)
where event.at >= %(begin)s and event.at < %(end)s
group by event.event_id
order by event.event_id

-- name: table_sizes
-- Live rows of each table, as PostgreSQL estimates them, its partitions in it; a table of partitions is told their sum as its own.
select
    coalesce(pg_partition_root(relid), relid)::regclass::text as name,
    sum(n_live_tup)::bigint as rows,
    coalesce(sum(pg_total_relation_size(relid)), 0)::bigint as bytes
from pg_stat_user_tables
inner join pg_class on pg_class.oid = relid
where schemaname = current_schema() and relkind <> 'p'
group by name
order by name

-- name: database
select
    pg_database_size(current_database()) as bytes,
    numbackends as connections,
    current_setting('max_connections')::integer as max_connections,
    blks_hit,
    blks_read,
    xact_commit as commits,
    xact_rollback as rollbacks,
    active_time / 1000 as active_seconds
from pg_stat_database
where datname = current_database()

-- name: replicas
-- Those that follow this server, by name; an idle one that has all is not behind.
select
    application_name || coalesce('@' || host(client_addr), '') as replica,
    max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::bigint as bytes,
    max(coalesce(extract(epoch from replay_lag), 0))::double precision as seconds
from pg_stat_replication
where replay_lsn is not null
group by replica
order by replica

-- name: behind
-- How far a replica is behind, in seconds; null on a server that is none. Without anything to replay it is 0.
select case
    when not pg_is_in_recovery() then null
    when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
    else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())
end
