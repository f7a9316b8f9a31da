-- Chunks without a vector of their present text: new ones, and changed ones.
select c.collection,
    count(*) filter (where e.chunk_id is null)::int as added,
    count(*) filter (where e.chunk_id is not null)::int as changed
from chunks c
left join document_embeddings e on e.chunk_id = c.chunk_id and e.space_id = %(space_id)s
where c.collection = any(%(collections)s)
    and (e.chunk_id is null or e.text_hash <> c.text_hash)
group by c.collection
