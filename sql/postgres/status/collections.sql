select collection, source, document_count as documents, refreshed_at
from collections
where fingerprint <> ''
order by collection
