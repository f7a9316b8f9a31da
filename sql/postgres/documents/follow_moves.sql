-- Chunks go where their documents went.
update chunks c
set collection = m.collection
from misplaced_chunks m
where c.chunk_id = m.chunk_id and m.collection is not null
