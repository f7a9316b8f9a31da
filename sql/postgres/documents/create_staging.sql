create temp table if not exists staged_batch (
    document_id text not null,
    collection text not null,
    content_hash bytea not null
);
create temp table if not exists staged_documents (document_id text primary key, collection text not null);
-- Those of them that are new, or not as the table has them.
create temp table if not exists staged_contents (
    document_id text primary key,
    collection text not null,
    content_hash bytea not null,
    title text not null,
    text text not null,
    label text,
    url text,
    group_id text not null,
    metadata jsonb not null,
    created_at timestamptz
);
create temp table if not exists staged_rejections (
    collection text not null,
    location text not null,
    document_id text,
    reason text not null
);
-- Live documents that the source no longer holds.
create temp table if not exists absent_documents (document_id text primary key, collection text not null);
truncate staged_documents, staged_contents, staged_rejections, absent_documents;
