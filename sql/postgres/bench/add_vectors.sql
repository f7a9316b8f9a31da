insert into document_embeddings
select *
from bench.vectors
where chunk_id = any(%(added)s)
