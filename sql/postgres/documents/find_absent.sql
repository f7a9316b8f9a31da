-- Note the live documents that the complete read no longer holds; count them, and all live ones.
with live as (
    select d.document_id, d.collection, s.document_id is null as lost
    from documents d
    left join staged_documents s using (document_id)
    where d.collection = any(%(collections)s) and d.deleted_at is null
), noted as (
    insert into absent_documents (document_id, collection)
    select document_id, collection from live where lost
)
select collection, count(*) as live, count(*) filter (where lost) as lost
from live
group by collection
order by collection
