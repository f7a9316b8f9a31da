-- name: active_release
select release_id, space_id, generation_id, feature_views, model_name, model_version
from releases
where active

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
select entry_id, linked, sound
from chain
where not (linked and sound)
order by entry_id
limit 1

-- name: insert_release
insert into releases
    (space_id, generation_id, feature_views, model_name, model_version, actor, reason)
select
    %(space_id)s,
    (select generation_id from search_generations where state = 'published'),
    %(feature_views)s, %(model_name)s, %(model_version)s, %(actor)s, %(reason)s
returning release_id

-- name: last_entry
select subject, details
from model_audit_logs
where action = any(%(actions)s)
order by entry_id desc
limit 1
