-- Live documents of each collection, and how many of them the complete read no longer holds.
select
    d.collection,
    count(*) as live,
    count(*) filter (where s.document_id is null) as lost
from documents d
left join staged_documents s using (document_id)
where d.collection = any(%(collections)s) and d.deleted_at is null
group by d.collection
order by d.collection
