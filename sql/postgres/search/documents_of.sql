join chunks c on c.chunk_id = e.chunk_id
join documents d on d.document_id = c.document_id
