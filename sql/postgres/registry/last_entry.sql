select subject, details
from model_audit_logs
where action = any(%(actions)s)
order by entry_id desc
limit 1
