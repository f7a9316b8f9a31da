select
    (select count(*) from collections where fingerprint <> '')::int as collections,
    d.documents,
    d.tombstones,
    (select count(*) from rejected_documents)::int as rejected,
    (select count(*) from chunks)::int as chunks,
    (select count(*) from document_embeddings where space_id = %(space_id)s)::int as vectors
from (
    select
        count(*) filter (where deleted_at is null)::int as documents,
        count(*) filter (where deleted_at is not null)::int as tombstones
    from documents
) d
