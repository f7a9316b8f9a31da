select count(*)
from unnest(%(document_ids)s::text[]) as wanted (document_id)
where not exists (
    select from documents d where d.document_id = wanted.document_id and d.deleted_at is null
)
