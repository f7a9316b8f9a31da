-- Every document, removed ones too: when it began, changed and left, and what its text hashes to.
select document_id, created_at, changed_at, deleted_at, encode(content_hash, 'hex') from documents
