-- What is described is what a model sees: title and text, as `predict` is given them in one.
create table features_document_text_v2 (
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
