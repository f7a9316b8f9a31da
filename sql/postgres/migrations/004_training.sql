-- Feature definitions, experiments, and the model versions that came of them.
create table feature_definitions (
    view text not null,
    version integer not null,
    entity text not null,
    fingerprint text not null,
    definition jsonb not null,
    registered_at timestamptz not null default now(),
    primary key (view, version)
);

-- One row per family and training set, written when the training starts: one that failed, or was killed
-- and still says `running`, is taken over by the next.
create table experiments (
    run_id text primary key,
    name text not null,
    description text not null,
    owner text not null,
    status text not null default 'running' check (status in ('running', 'completed', 'failed')),
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    training_set_hash text not null,
    family text not null,
    fingerprint text not null,
    parameters jsonb not null default '{}',
    metrics jsonb not null default '{}',
    history jsonb not null default '[]',
    model_uri text not null default '',
    onnx_sha256 text not null default '',
    onnx_reason text not null default '',
    unique (training_set_hash, family, fingerprint),
    check ((status = 'running') = (ended_at is null))
);
comment on column experiments.run_id is 'the run of MLflow';
comment on column experiments.history is 'what the training reported: a list of [step, split, metric, value]';
comment on column experiments.onnx_sha256 is 'of the file of its ONNX form, in hex; empty: onnx_reason says why there is none';

create table model_artifacts (
    model_name text not null,
    version integer not null,
    run_id text not null references experiments,
    uri text not null,
    training_set_hash text not null,
    space_id text not null,
    feature_views jsonb not null,
    metrics jsonb not null,
    seed bigint,
    created_at timestamptz not null default now(),
    primary key (model_name, version)
);
comment on column model_artifacts.seed is 'of the split that it was trained on; null: from before it was kept';
