create temp table if not exists staged_chunks (like chunks);
create temp table if not exists staged_sources (document_id text primary key, content_hash bytea not null)
