create temp table if not exists staged_vectors (text_hash bytea primary key, embedding halfvec not null);
truncate staged_vectors
