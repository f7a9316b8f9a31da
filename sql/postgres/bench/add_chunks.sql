insert into chunks
select *
from bench.chunks
where chunk_id = any(%(added)s)
