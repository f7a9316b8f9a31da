-- Documents and chunks: what the sources hold, in pieces that the embedding model can read.
create table collections (
    collection text primary key check (length(collection) between 1 and 200),
    source text not null,
    fingerprint text not null,
    document_count integer not null default 0,
    refreshed_at timestamptz default now(),
    read_error text,
    failed_at timestamptz
);
comment on column collections.refreshed_at is 'null: never read';
comment on column collections.read_error is 'why it could not be read the last time; it stayed as it was';
comment on column collections.failed_at is 'since when it cannot be read';

-- What an index stores of a document beside the text of its chunks, hashed when it is written: every run
-- compares all of it.
create function document_fields_hash(
    title text, label text, collection text, created_at timestamptz, metadata jsonb
) returns bytea language sql immutable parallel safe as $$
    select sha256(convert_to(
        jsonb_build_array(title, label, collection, extract(epoch from created_at), metadata)::text, 'UTF8'))
$$;

create table documents (
    document_id text primary key check (length(document_id) between 1 and 200),
    collection text not null references collections,
    title text not null,
    text text not null,
    label text,
    url text,
    group_id text not null,
    metadata jsonb not null default '{}',
    content_hash bytea not null,
    created_at timestamptz,
    observed_at timestamptz not null default now(),
    changed_at timestamptz not null default now(),
    deleted_at timestamptz,
    chunked_hash bytea,
    chunker text,
    fields_hash bytea not null
        generated always as (document_fields_hash(title, label, collection, created_at, metadata)) stored
);
create index documents_collection on documents (collection);
create index documents_label on documents (label);
comment on column documents.content_hash is 'sha256 of text, title, label, url, group, metadata and created_at';
comment on column documents.deleted_at is 'tombstone: set when a complete source no longer has the document; the text is emptied';
comment on column documents.chunked_hash is 'the content that the chunks were made from; null or stale: chunk it again';
comment on column documents.chunker is 'the chunker that they were made by; another one: chunk it again';

create table rejected_documents (
    collection text not null,
    location text not null,
    document_id text,
    reason text not null,
    rejected_at timestamptz not null default now(),
    primary key (collection, location)
);

-- One partition per chunker, and in it one for all times: `chunks_<chunker>` and `chunks_<chunker>_default`,
-- created by the code. A range of time gets a partition of its own (a tier: another tablespace, another
-- server) without a change of any other.
create table chunks (
    chunker text not null,
    created_at timestamptz not null default '-infinity',
    chunk_id text not null,
    document_id text not null references documents on delete cascade,
    collection text not null,
    chunk_index integer not null,
    start_offset integer not null,
    end_offset integer not null check (end_offset > start_offset),
    token_count integer not null,
    heading text not null,
    text text not null,
    text_hash bytea not null,
    -- What compares chunks with documents and vectors, at every run, reads these keys alone.
    primary key (chunk_id, chunker, created_at) include (collection, text_hash),
    unique (document_id, chunk_index, chunker, created_at) include (collection)
) partition by list (chunker);
create index chunks_collection on chunks (collection);
create index chunks_text_hash on chunks (text_hash);
comment on column chunks.created_at is 'of the document; -infinity: it has none';
comment on column chunks.chunk_id is 'document_id#chunk_index';
comment on column chunks.heading is 'the title, clipped to the tokens the model has left beside the chunk';
comment on column chunks.text_hash is 'sha256 of what is embedded: heading, line end, text';
comment on column chunks.token_count is 'tokens of what is embedded, special tokens included';

create table change_log (
    change_id bigint generated always as identity primary key,
    changed_at timestamptz not null default now(),
    stage text not null,
    collection text not null,
    document_id text not null,
    action text not null check (action in ('added', 'changed', 'removed')),
    reason text not null,
    run_id text
);
create index change_log_document on change_log (document_id, change_id);
