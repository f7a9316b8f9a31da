-- Chunks go where their documents went.
update chunks c
set collection = d.collection
from documents d
where d.document_id = c.document_id
    and d.collection <> c.collection
    and d.collection = any(%(collections)s)
