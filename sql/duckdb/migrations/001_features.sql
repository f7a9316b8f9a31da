-- Offline features: one wide table per view and version, append-only, in two times.
-- event_time: when the value was true; known_time: when it was computed; removed: a tombstone.
create table features_document_text_v1 (
    entity_id varchar not null,
    event_time timestamptz not null,
    known_time timestamptz not null,
    removed boolean not null,
    value_hash varchar not null,
    characters bigint,
    words bigint,
    sentences bigint,
    mean_word_length double,
    lexical_diversity double,
    code_share double,
    digit_share double,
    punctuation_share double,
    reading_ease double,
    nearest_distance double
);

create table features_collection_activity_v1 (
    entity_id varchar not null,
    event_time timestamptz not null,
    known_time timestamptz not null,
    removed boolean not null,
    value_hash varchar not null,
    document_count bigint,
    chunk_count bigint,
    mean_characters double,
    median_characters double,
    label_count bigint,
    added bigint,
    changed bigint,
    removed_documents bigint
);

-- What the values of an entity were computed from, so that an unchanged one is not computed again.
create table feature_inputs (
    view varchar not null,
    entity_id varchar not null,
    input_hash varchar not null
);

-- The state of all inputs at the last refresh of a view: equal means that there is nothing to do.
create table feature_states (
    view varchar primary key,
    state_hash varchar not null,
    changed_time timestamptz not null,
    refreshed_time timestamptz not null
);
