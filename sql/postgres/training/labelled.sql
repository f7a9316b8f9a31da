-- Every live document with a label: its group, when it became what it is, a hash of what a model sees of
-- it, one of its text without case and spacing, and whether the vector space has all of its chunks.
with pieces as (
    select
        chunks.document_id,
        string_agg(chunks.text_hash, '\x'::bytea order by chunks.chunk_index) as text_hashes,
        bool_and(e.chunk_id is not null) as embedded
    from chunks
    left join document_embeddings as e
        on e.space_id = %(space_id)s and e.chunk_id = chunks.chunk_id
        and e.text_hash = chunks.text_hash
    group by chunks.document_id
)
select
    d.document_id,
    d.label,
    d.group_id,
    greatest(d.changed_at, d.created_at) as label_time,
    encode(sha256(convert_to(concat_ws(E'\n', nullif(d.title, ''), d.text), 'UTF8') || coalesce(pieces.text_hashes, '\x')), 'hex') as text_hash,
    encode(sha256(convert_to(lower(btrim(regexp_replace(d.text, '\s+', ' ', 'g'))), 'UTF8')), 'hex')
        as same_text,
    coalesce(pieces.embedded, false) as embedded
from documents as d
left join pieces on pieces.document_id = d.document_id
where d.deleted_at is null and d.label is not null
order by d.document_id collate "C"
