-- Search generations, and the ledger of what each index of a generation holds.
create table search_generations (
    generation_id text primary key check (generation_id ~ '^[0-9a-f]{16}$'),
    space_id text not null references embedding_spaces,
    parameters jsonb not null,
    fusion jsonb not null default '{}',
    evaluation jsonb,
    measured jsonb,
    created_at timestamptz not null default now(),
    dropped_at timestamptz
);
comment on column search_generations.fusion is 'how it fuses the rankings of its indexes while it serves';
comment on column search_generations.evaluation is 'what was measured when it was published';
comment on column search_generations.measured is 'a fresh measurement, beside the published one until the checks have passed';
comment on column search_generations.dropped_at is 'since when its indexes are gone';

create table search_index_entries (
    generation_id text not null references search_generations on delete cascade,
    index_kind text not null check (index_kind in ('pgvector', 'chroma', 'faiss', 'keyword')),
    chunk_id text not null,
    revision bytea not null,
    primary key (generation_id, index_kind, chunk_id)
);
comment on column search_index_entries.revision is 'sha256 over all that the index stores of the chunk';

-- The revision of a chunk in an index. In one place, because what was indexed and what should be are
-- compared by it.
create function index_revision(text_hash bytea, fields_hash bytea) returns bytea
    language sql immutable parallel safe as $$ select sha256(text_hash || fields_hash) $$;

create table search_index_marks (
    generation_id text not null references search_generations on delete cascade,
    index_kind text not null check (index_kind in ('chroma', 'faiss', 'keyword')),
    mark text not null,
    worn bigint not null default 0,
    primary key (generation_id, index_kind)
);
comment on column search_index_marks.mark is 'what the index outside PostgreSQL carries since it was last written; another mark there: a backup was restored, or another host keeps an index of its own';
comment on column search_index_marks.worn is 'chunks that were replaced or removed since the index was built as a whole';
