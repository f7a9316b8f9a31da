-- Chunks and vectors are matched by their keys alone; only the dimensions need the vectors themselves.
select
    count(c.chunk_id) as chunks,
    count(e.chunk_id) as vectors,
    count(*) filter (where e.chunk_id is null) as chunks_without_vector,
    count(*) filter (where c.chunk_id is null) as vectors_without_chunk,
    count(*) filter (where e.text_hash <> c.text_hash) as vectors_of_another_text,
    (
        select count(*) from document_embeddings
        where space_id = %(space_id)s and vector_dims(embedding) <> %(dimension)s
    ) as vectors_of_another_dimension
from chunks c
full join (
    select chunk_id, text_hash from document_embeddings where space_id = %(space_id)s
) e using (chunk_id)
