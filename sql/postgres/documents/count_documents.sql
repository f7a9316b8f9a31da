update collections c
set document_count = (
    select count(*) from documents d where d.collection = c.collection and d.deleted_at is null
)
where c.collection = any(%(collections)s)
