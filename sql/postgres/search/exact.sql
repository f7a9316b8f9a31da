-- Materialized, so that no index on the vectors can be used.
with candidate as materialized (
    select e.chunk_id, e.embedding
    from {partition} e
    {documents}
    where {filter}
)
select chunk_id, embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) as distance
from candidate
order by distance, chunk_id
limit {k}
