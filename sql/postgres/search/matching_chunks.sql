select c.chunk_id from chunks c join documents d using (document_id) where {filter}
