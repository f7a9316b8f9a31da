-- Candidates by how many signs differ; of those the nearest by the cosine of the stored vectors.
with candidate as materialized (
    select e.chunk_id, e.embedding
    from {partition} e
    {documents}
    where {filter}
    order by binary_quantize(e.embedding::halfvec({dimension}))::bit({dimension})
        <~> binary_quantize(%(vector)s::halfvec({dimension}))::bit({dimension})
    limit {candidates}
)
select chunk_id, embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) as distance
from candidate
order by distance, chunk_id
limit {k}
