select embedding
from {partition}
where chunk_id = any(%(chunk_ids)s)
order by chunk_id
