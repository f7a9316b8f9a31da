-- '' is the collection of rows that do not say to which they belong.
with gone as (
    delete from rejected_documents where collection = any(%(collections)s) or collection = ''
)
insert into rejected_documents (collection, location, document_id, reason)
select distinct on (collection, location) collection, location, document_id, reason
from staged_rejections
on conflict (collection, location) do update
set document_id = excluded.document_id, reason = excluded.reason, rejected_at = now()
