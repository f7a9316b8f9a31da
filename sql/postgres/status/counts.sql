select
    (select count(*) from collections where fingerprint <> '')::int as collections,
    (select count(*) from documents where deleted_at is null)::int as documents,
    (select count(*) from documents where deleted_at is not null)::int as tombstones,
    (select count(*) from rejected_documents)::int as rejected,
    (select count(*) from chunks)::int as chunks,
    (select count(*) from document_embeddings where space_id = %(space_id)s)::int as vectors
