-- In the order in which `pending_texts.sql` has them written.
insert into document_embeddings
select *
from bench.vectors
where chunk_id = any(%(added)s)
order by text_hash, chunk_id
