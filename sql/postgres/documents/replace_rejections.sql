-- '' is the collection of rows that do not say to which they belong; any complete read tells all of them.
with gone as (
    delete from rejected_documents
    where collection = any(%(collections)s) or (collection = '' and %(heard)s)
)
insert into rejected_documents (collection, location, document_id, reason)
select distinct on (collection, location) collection, location, document_id, reason
from staged_rejections
where collection = any(%(collections)s) or collection = ''
on conflict (collection, location) do update
set document_id = excluded.document_id, reason = excluded.reason, rejected_at = now()
