-- A sample of the labelled documents, the same for the same seed.
select document_id, label
from documents
where deleted_at is null and label is not null
order by md5(document_id || %(seed)s)
limit %(sample)s
