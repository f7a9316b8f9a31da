-- name: count_since
select count(*) from documents where deleted_at is null and changed_at > %(since)s

-- name: document_state
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
    join current_chunks c on c.chunk_id = e.chunk_id and c.chunker = e.chunker and byteaeq(c.text_hash, e.text_hash)
    join documents d using (document_id)
    where e.space_id = %(space_id)s and d.deleted_at is null
)
select
    d.live as entities,
    encode(sha256(convert_to(
        concat_ws(' ', %(space_id)s::text, d.live, d.content, v.vectors, v.content), 'UTF8')), 'hex') as state_hash,
    coalesce(d.changed_time, to_timestamp(0)) as state_time
from documents_seen d, vectors_seen v

-- name: document_vectors
-- One vector per live document, of all or of some: the mean of its chunks' vectors.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
select c.document_id, avg(e.embedding::vector)
from {vectors} e
join {chunks} c on c.chunk_id = e.chunk_id and c.chunker = e.chunker and byteaeq(c.text_hash, e.text_hash)
where e.space_id = %(space_id)s
    and {chosen}
    and exists (select from documents d where d.document_id = c.document_id and d.deleted_at is null)
group by c.document_id
order by c.document_id

-- name: documents
-- Every document, removed ones too: when it began, changed and left, hashes of content and of title and text.
select
    document_id,
    created_at,
    changed_at,
    deleted_at,
    encode(content_hash, 'hex'),
    encode(sha256(convert_to(concat_ws(E'\n', nullif(title, ''), text), 'UTF8')), 'hex')
from documents

-- name: labels
-- A sample of the labelled documents, the same for the same seed.
select document_id, label
from documents
where deleted_at is null and label is not null
order by md5(document_id || %(seed)s)
limit %(sample)s

-- name: labels_of
-- The labels of some documents, those that have one.
select document_id, label
from documents
where deleted_at is null and label is not null and document_id = any(%(document_ids)s)

-- name: read_definition
select
    fingerprint, definition = %(definition)s::jsonb,
    (fingerprint, definition, entity) = (%(fingerprint)s, %(definition)s::jsonb, %(entity)s)
from feature_definitions
where view = %(view)s and version = %(version)s

-- name: text_hashes
-- What a model sees of documents, hashed as `documents` does it.
select document_id, encode(sha256(convert_to(concat_ws(E'\n', nullif(title, ''), text), 'UTF8')), 'hex')
from documents
where document_id = any(%(document_ids)s)

-- name: texts
-- As a model sees them: title, line end, text.
select document_id, concat_ws(E'\n', nullif(title, ''), text) from documents where document_id = any(%(document_ids)s) order by document_id

-- name: unheld_keys
select key
from unnest(%(keys)s::text[]) as key
where not exists (select from documents where deleted_at is null and metadata ->> key is not null)
order by key

-- name: vector_hashes
-- Of each live document a hash of what its vector is the mean of: the space, and the texts that have vectors in it.
-- byteaeq, not `=`: the planner takes two equal columns for independent keys, and the join for one row.
select c.document_id, md5(%(space_id)s || string_agg(encode(c.text_hash, 'hex'), '' order by c.chunk_id))
from document_embeddings e
join current_chunks c on c.chunk_id = e.chunk_id and c.chunker = e.chunker and byteaeq(c.text_hash, e.text_hash)
where e.space_id = %(space_id)s
    and exists (select from documents d where d.document_id = c.document_id and d.deleted_at is null)
group by c.document_id

-- name: write_definition
insert into feature_definitions (view, version, entity, fingerprint, definition)
values (%(view)s, %(version)s, %(entity)s, %(fingerprint)s, %(definition)s)
on conflict (view, version) do update
set definition = excluded.definition, fingerprint = excluded.fingerprint, entity = excluded.entity
