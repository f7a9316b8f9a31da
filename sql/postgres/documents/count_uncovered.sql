select
    (select count(*) from documents d
        where d.deleted_at is null
            and not exists (select from chunks c where c.document_id = d.document_id)
    ) as documents_without_chunks,
    count(*) filter (where d.document_id is null or d.deleted_at is not null) as chunks_without_document,
    count(*) filter (
        where d.deleted_at is null
            and c.text <> substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset)
    ) as chunks_unlike_their_text
from chunks c
left join documents d using (document_id)
