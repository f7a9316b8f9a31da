-- Texts are compared for the documents that changed last and as many at random: cutting the pieces of all
-- out of 90,000 documents took 1.2 s.
with compared as (
    (select document_id from documents where deleted_at is null order by changed_at desc limit %(compared)s)
    union
    (select document_id from documents where deleted_at is null order by random() limit %(compared)s)
)
select
    count(*) filter (where c.document_id is null) as documents_without_chunks,
    count(*) filter (where d.document_id is null) as chunks_without_document,
    (select count(*) from compared
        join documents d using (document_id)
        join chunks c using (document_id)
        where c.text <> substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset)
    ) as chunks_unlike_their_text
from (select document_id from documents where deleted_at is null) d
full join chunks c using (document_id)
