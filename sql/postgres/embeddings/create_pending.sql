create temp table if not exists pending_vectors (
    chunk_id text primary key,
    collection text not null,
    text_hash bytea not null,
    -- A vector of this chunk: is there none yet, and is it that of the present text?
    is_new boolean not null,
    is_current boolean not null
);
truncate pending_vectors
