-- The file of each training set, frozen with its lineage: the MLflow run that has it, and its sha256 in hex.
create table training_set_files (
    hash varchar primary key,
    run_id varchar not null,
    sha256 varchar not null
);

-- The training set whose labels were reviewed last, by the answers of which candidate, and by which rules.
create table label_reviews (
    training_set_hash varchar not null,
    run_id varchar not null,
    version integer not null,
    documents bigint not null,
    reviewed_at timestamptz not null default current_timestamp
);

-- Its documents whose label is probably wrong, the surest first.
create table label_issues (
    place integer not null,
    document_id varchar not null,
    label varchar not null,
    suggested varchar not null,
    confidence double not null,
    kind varchar not null,
    why varchar not null
);

-- Its labels that are mistaken for each other, the worst first.
create table ambiguous_labels (
    place integer not null,
    label varchar not null,
    other varchar not null,
    documents bigint not null,
    share double not null
);
