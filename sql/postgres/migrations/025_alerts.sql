-- Alerts: how each stands, what happened to it, and who is told of that.
create table alerts (
    rule text not null,
    subject text not null,
    severity text not null check (severity in ('info', 'warning', 'critical')),
    matching boolean not null,
    since timestamptz not null,
    until timestamptz not null,
    value double precision not null,
    opened_at timestamptz,
    dismissed boolean not null default false,
    silenced_until timestamptz,
    told_at timestamptz,
    resolved_at timestamptz,
    primary key (rule, subject)
);
comment on table alerts is 'one row per rule and what it is about, once its condition held';
comment on column alerts.matching is 'whether the condition held at the last look, since when and until when';
comment on column alerts.opened_at is 'null: it is not open';
comment on column alerts.dismissed is 'a person resolved it: it does not open again before its condition has ceased';
comment on column alerts.told_at is 'when it was told last that it is open; null: nobody was told, or that it is resolved too';

create table alert_events (
    event_id bigint generated always as identity primary key,
    at timestamptz not null,
    kind text not null check (kind in ('opened', 'resolved', 'silenced')),
    rule text not null,
    subject text not null,
    severity text not null,
    value double precision not null,
    message text not null,
    actor text not null,
    reason text not null
);
create index on alert_events (at);
create trigger alert_events_append_only before update or delete or truncate on alert_events
    for each statement execute function refuse_change();

-- A delivery is written with what it tells of, and tried until it succeeds: its id is the same each time.
create table alert_deliveries (
    delivery_id uuid primary key default gen_random_uuid(),
    event_id bigint not null references alert_events,
    recipient text not null,
    due_at timestamptz not null,
    attempts integer not null default 0,
    delivered_at timestamptz,
    error text not null default '',
    unique (event_id, recipient)
);
create index alert_deliveries_waiting on alert_deliveries (recipient, event_id) where delivered_at is null;
