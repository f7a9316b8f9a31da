-- name: cosines
select chunk_id, 1 - (embedding <=> %(vector)s::halfvec) from {partition} where chunk_id = any(%(chunk_ids)s::text[])

-- name: document_vector
-- The mean of the vectors of a live document.
select avg(e.embedding::vector)
from {chunks} c
join documents d using (document_id)
join {partition} e using (chunk_id)
where c.document_id = %(document_id)s and d.deleted_at is null

-- name: hits
-- With the cosine to the vector of the query, where there is one.
select d.document_id, d.title, d.url, d.collection, d.label, c.text, c.chunk_index, c.start_offset, c.end_offset,
    c.path, d.created_at, d.observed_at, d.metadata, 1 - (e.embedding <=> %(vector)s::halfvec) as cosine
from {chunks} c
join documents d using (document_id)
left join {partition} e using (chunk_id)
where c.chunk_id = any(%(chunk_ids)s::text[]) and {filter}

-- name: moved_cosines
-- The cosine of each chunk to the query that was moved towards the mean of the first ones; of a vector without a mean,
-- to the query itself.
with moved as (
    select coalesce(%(query)s::vector + %(weights)s::vector * avg(embedding::vector), %(query)s::vector)::halfvec as query
    from {partition}
    where chunk_id = any(%(first)s::text[])
)
select chunk_id, 1 - (embedding <=> (select query from moved))
from {partition}
where chunk_id = any(%(chunk_ids)s::text[])
