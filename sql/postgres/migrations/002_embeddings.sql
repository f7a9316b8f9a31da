-- Vectors, one per chunk and vector space. One partition per space, so that a space is dropped whole; in it
-- one per chunker, and in that one for all times, as of `chunks`.
create table embedding_spaces (
    space_id text primary key check (space_id ~ '^[0-9a-f]{16}$'),
    dimension integer not null check (dimension between 1 and 4000),
    definition jsonb not null,
    created_at timestamptz not null default now(),
    fidelity jsonb
);
comment on column embedding_spaces.fidelity is 'the last comparison of sampled vectors with float32';

create table document_embeddings (
    space_id text not null references embedding_spaces,
    chunker text not null,
    created_at timestamptz not null default '-infinity',
    chunk_id text not null,
    collection text not null,
    text_hash bytea not null,
    embedding halfvec not null,
    embedded_at timestamptz not null default now(),
    -- Ordered scans of these keys are all that comparing chunks with vectors takes.
    primary key (chunk_id, space_id, chunker, created_at) include (collection, text_hash)
) partition by list (space_id);
create index document_embeddings_text_hash on document_embeddings (space_id, text_hash);
comment on column document_embeddings.created_at is 'of the document; -infinity: it has none';
comment on column document_embeddings.embedded_at is 'the newest are sampled by a check';
