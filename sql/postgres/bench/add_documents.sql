insert into documents
select *
from bench.documents
where document_id in (select document_id from bench.chunks where chunk_id = any(%(added)s))
on conflict do nothing
