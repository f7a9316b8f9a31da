select
    count(*) as documents,
    count(*) filter (where trim(document_id) = '') as empty,
    count(*) - count(distinct document_id) as duplicates
from documents
