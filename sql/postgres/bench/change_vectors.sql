update document_embeddings e
set text_hash = h.text_hash, embedding = h.embedding
from unnest(%(changed)s::text[], %(by)s::text[]) as pair (chunk_id, by)
join bench.vectors h on h.chunk_id = pair.by
where e.chunk_id = pair.chunk_id and e.space_id = h.space_id
