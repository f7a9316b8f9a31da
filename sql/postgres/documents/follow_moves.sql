-- Chunks go where their documents went.
update chunks c
set collection = m.collection
from misplaced_chunks m
where c.document_id = m.document_id and c.chunk_index = m.chunk_index and m.collection is not null
