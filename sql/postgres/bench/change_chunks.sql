-- Chunks that keep their ids, and get the texts of others.
update chunks c
set heading = h.heading, text = h.text, text_hash = h.text_hash, token_count = h.token_count
from unnest(%(changed)s::text[], %(by)s::text[]) as pair (chunk_id, by)
join bench.chunks h on h.chunk_id = pair.by
where c.chunk_id = pair.chunk_id
