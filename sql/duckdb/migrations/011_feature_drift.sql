-- What came until a day, compared with each of its references: the champion's training set, the days before.
create table drift_comparisons (
    day date not null,
    reference varchar not null,
    outcome varchar not null,
    message varchar not null,
    first_day date not null,
    reference_rows bigint not null,
    current_rows bigint not null,
    model_version integer,
    compared_at timestamptz not null default current_timestamp,
    primary key (day, reference)
);

-- A row per feature that was compared, and per aspect of it.
create table feature_drift (
    day date not null,
    reference varchar not null,
    feature varchar not null,
    aspect varchar not null,
    test varchar not null,
    psi double,
    wasserstein double,
    effect double not null,
    strength double not null,
    p_value double not null,
    q_value double not null,
    drifted boolean not null,
    before varchar not null,
    now varchar not null,
    primary key (day, reference, feature, aspect)
);
