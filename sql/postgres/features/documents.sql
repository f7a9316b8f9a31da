-- Every document, removed ones too: when it began, changed and left, and hashes of content and text.
select
    document_id,
    created_at,
    changed_at,
    deleted_at,
    encode(content_hash, 'hex'),
    encode(sha256(convert_to(text, 'UTF8')), 'hex')
from documents
