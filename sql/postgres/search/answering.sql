-- name: cosines
select chunk_id, 1 - (embedding <=> %(vector)s::halfvec) from {partition} where chunk_id = any(%(chunk_ids)s)

-- name: hits
select d.document_id, d.title, d.url, d.collection, d.label, c.text, c.chunk_index, c.start_offset, c.end_offset,
    c.path, d.created_at, d.observed_at, d.metadata
from {chunks} c
join documents d using (document_id)
where c.chunk_id = any(%(chunk_ids)s) and {filter}

-- name: mean_vector
select avg(embedding::vector) from {partition} where chunk_id = any(%(chunk_ids)s)
