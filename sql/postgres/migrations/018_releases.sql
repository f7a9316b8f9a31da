-- Releases: one row for all that was served together, with the time in which it was. Rows are appended; of
-- the open one only the end is set. What is served, since when and until when is told by them alone.
create table served_releases (
    release_id bigint generated always as identity primary key,
    space_id text,
    generation_id text,
    feature_views jsonb not null default '{}',
    model_name text,
    model_version integer,
    model_space_id text,
    served tstzrange not null check (not isempty(served) and not lower_inf(served)),
    actor text not null,
    action text not null,
    reason text not null,
    constraint releases_served_alone exclude using gist (served with &&)
);
comment on column served_releases.space_id is 'of the search generation';
comment on column served_releases.model_space_id is 'whose vectors the model reads';

-- What the tables before knew: when each generation was published last, and when each model was promoted.
with events as (
    select
        g.published_at as at, g.generation_id, g.space_id,
        null::bigint as old_id, coalesce(g.published_by, 'unknown') as actor, 'publish' as action,
        coalesce((
            select reason from model_audit_logs a
            where a.subject = 'search_generation:' || g.generation_id and a.action in ('publish', 'rollback')
            order by a.entry_id desc
            limit 1
        ), 'before releases were kept') as reason
    from search_generations g
    where g.published_at is not null
    union all
    select r.created_at, null, null, r.release_id, r.actor, 'promote', r.reason from releases r
), numbered as (
    select
        *,
        row_number() over ordered as number,
        count(generation_id) over ordered as generations,
        count(old_id) over ordered as models
    from events
    window ordered as (order by at, old_id nulls first, generation_id rows unbounded preceding)
), timeline as (
    select
        number, actor, action, reason,
        max(space_id) over (partition by generations) as space_id,
        max(generation_id) over (partition by generations) as generation_id,
        max(old_id) over (partition by models) as old_id,
        at + number * interval '1 microsecond' as served_from
    from numbered
)
insert into served_releases
    (space_id, generation_id, feature_views, model_name, model_version, model_space_id, served, actor, action, reason)
select
    t.space_id, t.generation_id, coalesce(r.feature_views, '{}'), r.model_name, r.model_version,
    case when r.model_name is not null then r.space_id end,
    tstzrange(t.served_from, lead(t.served_from) over (order by t.number)),
    t.actor, t.action, t.reason
from timeline t
left join releases r on r.release_id = t.old_id
order by t.number;

create table withdrawals (
    part text not null,
    identity text not null,
    actor text not null,
    reason text not null,
    withdrawn_at timestamptz not null default now(),
    primary key (part, identity)
);
comment on table withdrawals is 'what a person rolled back from; no run serves it again until a person does';
insert into withdrawals (part, identity, actor, reason, withdrawn_at)
select
    'generation_id', generation_id,
    withdrawn ->> 'actor', withdrawn ->> 'reason', coalesce((withdrawn ->> 'at')::timestamptz, now())
from search_generations
where withdrawn ? 'actor' and withdrawn ? 'reason';

drop table releases;
alter table served_releases rename to releases;

create function refuse_rewriting() returns trigger language plpgsql as $$
begin
    if upper_inf(old.served) and not upper_inf(new.served) and lower(new.served) = lower(old.served)
        and to_jsonb(new) - 'served' = to_jsonb(old) - 'served' then
        return new;
    end if;
    raise exception '% is append-only: of a row only the end of its time is set, once', tg_table_name;
end $$;
create trigger releases_are_closed_only before update on releases
    for each row execute function refuse_rewriting();
create trigger releases_append_only before delete or truncate on releases
    for each statement execute function refuse_change();

-- A generation knows what it is, the fusion it serves with, and whether its indexes were dropped.
alter table search_generations
    add column fusion jsonb not null default '{}',
    add column dropped_at timestamptz;
update search_generations
set
    fusion = coalesce(evaluation -> 'fusion', '{}'),
    dropped_at = case when state = 'dropped' then coalesce(retired_at, now()) end;
drop index search_generations_one_published;
alter table search_generations
    drop column state,
    drop column published_at,
    drop column published_by,
    drop column retired_at,
    drop column withdrawn;
