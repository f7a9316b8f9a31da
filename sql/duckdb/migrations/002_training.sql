-- Training sets, frozen once per content, and what the models trained on them achieved.
create sequence training_set_build_ids;

-- Which training set is the current one: the last build. A null hash: nothing can be trained on.
create table training_set_builds (
    build_id bigint primary key default nextval('training_set_build_ids'),
    hash varchar,
    space_id varchar not null,
    seed bigint not null,
    feature_views map(varchar, varchar) not null,
    features varchar[] not null,
    left_out map(varchar, bigint) not null,
    unembedded bigint not null,
    reason varchar not null,
    built_at timestamptz not null default current_timestamp
);

create table training_sets (
    hash varchar not null,
    document_id varchar not null,
    label varchar not null,
    group_id varchar not null,
    split varchar not null,
    label_time timestamptz not null,
    text_hash varchar not null,
    features map(varchar, double) not null
);

-- One row per metric of a candidate on a split; label is empty for metrics over all labels.
create table experiment_performance (
    run_id varchar not null,
    training_set_hash varchar not null,
    family varchar not null,
    fingerprint varchar not null,
    split varchar not null,
    label varchar not null,
    metric varchar not null,
    value double not null,
    logged_at timestamptz not null default current_timestamp
);

-- How much macro-F1 a candidate loses on validation when one input is permuted.
create table feature_importance (
    run_id varchar not null,
    training_set_hash varchar not null,
    family varchar not null,
    fingerprint varchar not null,
    feature varchar not null,
    importance double not null
);

-- The answers of a candidate on the test split.
create table model_predictions (
    run_id varchar not null,
    training_set_hash varchar not null,
    family varchar not null,
    fingerprint varchar not null,
    document_id varchar not null,
    label varchar not null,
    predicted varchar not null,
    probability double not null
);
