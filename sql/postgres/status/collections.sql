select collection, source, document_count as documents, refreshed_at, read_error, failed_at
from collections
where fingerprint <> '' or read_error is not null
order by collection
