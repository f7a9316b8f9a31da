create temp table if not exists staged_documents (
    document_id text primary key,
    collection text not null,
    title text not null,
    text text not null,
    label text,
    url text,
    group_id text not null,
    metadata jsonb not null,
    content_hash bytea not null,
    created_at timestamptz
);
create temp table if not exists staged_rejections (
    collection text not null,
    location text not null,
    document_id text,
    reason text not null
);
truncate staged_documents, staged_rejections;
