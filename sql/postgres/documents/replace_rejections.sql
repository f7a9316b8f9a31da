with gone as (
    delete from rejected_documents where collection = any(%(collections)s)
)
insert into rejected_documents (collection, location, document_id, reason)
select distinct on (collection, location) collection, location, document_id, reason
from staged_rejections
