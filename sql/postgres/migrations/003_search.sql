-- Search generations, and the ledger of what each index of a generation holds.
create table search_generations (
    generation_id text primary key check (generation_id ~ '^[0-9a-f]{16}$'),
    space_id text not null references embedding_spaces,
    parameters jsonb not null,
    state text not null default 'building' check (state in ('building', 'published', 'retired')),
    evaluation jsonb,
    created_at timestamptz not null default now(),
    published_at timestamptz
);
create unique index search_generations_one_published on search_generations ((true)) where state = 'published';

create table search_index_entries (
    generation_id text not null references search_generations on delete cascade,
    index_kind text not null check (index_kind in ('pgvector', 'chroma', 'keyword')),
    chunk_id text not null,
    revision bytea not null,
    primary key (generation_id, index_kind, chunk_id)
);
comment on column search_index_entries.revision is 'sha256 over all that the index stores of the chunk';
