-- What people said of answers on the page: each says one thing of a document for a query, the last one counts.
create table judgments (
    query text not null check (length(query) between 1 and 2000),
    document_id text not null check (length(document_id) between 1 and 200),
    judged_by text not null,
    is_relevant boolean not null,
    release_id bigint,
    judged_at timestamptz not null default clock_timestamp(),
    primary key (judged_by, document_id, query)
);
comment on column judgments.judged_by is 'the id of a key, or the address where no key is asked for';
comment on column judgments.release_id is 'that answered; null: before the first';
