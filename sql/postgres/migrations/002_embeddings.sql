-- Vectors, one per chunk and vector space; one partition per space, so that a space is dropped whole.
create table embedding_spaces (
    space_id text primary key check (space_id ~ '^[0-9a-f]{16}$'),
    dimension integer not null check (dimension between 1 and 4000),
    definition jsonb not null,
    created_at timestamptz not null default now()
);

create table document_embeddings (
    space_id text not null references embedding_spaces,
    chunk_id text not null,
    collection text not null,
    text_hash bytea not null,
    embedding halfvec not null,
    primary key (space_id, chunk_id)
) partition by list (space_id);
create index document_embeddings_text_hash on document_embeddings (space_id, text_hash);
