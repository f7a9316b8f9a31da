-- Documents that were pushed to the service: each is kept here as a source keeps its own, and read by the runs.
create table push_tickets (
    ticket uuid primary key,
    document_ids text[] not null,
    pushed_at timestamptz not null default clock_timestamp(),
    pushed_by text not null
);

create table pushed_documents (
    document_id text primary key check (length(document_id) between 1 and 200),
    collection text not null check (length(collection) between 1 and 200),
    content_hash bytea not null,
    title text not null,
    text text not null,
    label text,
    url text,
    group_id text not null,
    metadata json not null,
    created_at timestamptz,
    ticket uuid not null references push_tickets,
    pushed_at timestamptz not null default clock_timestamp()
);
create index pushed_documents_collection on pushed_documents (collection);
comment on column pushed_documents.content_hash is 'as in documents: equal when a run has read it';
comment on column pushed_documents.ticket is 'of the push that it came with; an earlier one was replaced';
comment on column pushed_documents.metadata is 'json, not jsonb, which writes some numbers otherwise, and with them the hash';
