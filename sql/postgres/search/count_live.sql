select count(*) as chunks from chunks join documents using (document_id) where deleted_at is null
