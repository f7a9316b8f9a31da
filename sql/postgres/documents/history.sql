-- What happened to one document, oldest first.
select changed_at, stage, action, reason, collection, run_id
from change_log
where document_id = %(document_id)s
order by change_id
