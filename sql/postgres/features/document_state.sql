-- All inputs of document features in one line: live documents, and their vectors of one space.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
with documents_seen as (
    select
        count(*) filter (where deleted_at is null) as live,
        coalesce(sum(hashtextextended(document_id || ' ' || encode(content_hash, 'hex'), 0))
            filter (where deleted_at is null), 0) as content,
        max(changed_at) as changed_time
    from documents
), vectors_seen as (
    select
        count(*) as vectors,
        coalesce(sum(hashtextextended(e.chunk_id || ' ' || encode(e.text_hash, 'hex'), 0)), 0) as content
    from document_embeddings e
    join chunks c on c.chunk_id = e.chunk_id and byteaeq(c.text_hash, e.text_hash)
    join documents d using (document_id)
    where e.space_id = %(space_id)s and d.deleted_at is null
)
select
    d.live,
    encode(sha256(convert_to(
        concat_ws(' ', %(space_id)s::text, d.live, d.content, v.vectors, v.content), 'UTF8')), 'hex'),
    coalesce(d.changed_time, to_timestamp(0))
from documents_seen d, vectors_seen v
