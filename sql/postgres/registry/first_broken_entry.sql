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
