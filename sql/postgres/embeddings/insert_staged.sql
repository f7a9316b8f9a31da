insert into document_embeddings (space_id, chunk_id, collection, text_hash, embedding)
select %(space_id)s, c.chunk_id, c.collection, c.text_hash, s.embedding
from staged_vectors s
join chunks c using (text_hash)
where c.collection = any(%(collections)s)
on conflict (space_id, chunk_id) do update
set collection = excluded.collection, text_hash = excluded.text_hash, embedding = excluded.embedding,
    embedded_at = excluded.embedded_at
