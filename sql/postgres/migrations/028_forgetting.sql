-- What was forgotten is known by salted hashes alone, so that it is not read again.
create table forgotten_salt (
    one boolean primary key default true check (one),
    salt bytea not null check (length(salt) >= 32)
);

create table forget_requests (
    request_id text primary key,
    requested_at timestamptz not null default clock_timestamp(),
    actor text not null,
    host text not null,
    documents integer not null,
    completed_at timestamptz
);
comment on column forget_requests.host is 'whose home has what is left to do, until it is completed';
comment on column forget_requests.completed_at is 'when the receipt was signed; null: the next run or request of that host completes it';

create table forgotten (
    kind text not null check (kind in ('id', 'text')),
    digest bytea not null,
    request_id text not null references forget_requests,
    primary key (kind, digest)
);
comment on column forgotten.digest is 'HMAC-SHA256 by the salt, of an id or of a text without case and spacing';

create table forgotten_in_models (
    model_name text not null,
    version integer not null,
    request_id text not null references forget_requests,
    documents integer not null,
    primary key (model_name, version, request_id),
    foreign key (model_name, version) references model_versions
);
comment on table forgotten_in_models is 'model versions that were trained, chosen or tested on documents that were forgotten since';

create table backups (
    host text not null,
    folder text not null,
    made_at timestamptz not null,
    primary key (host, folder)
);
comment on table backups is 'where backups were written: each may hold what was forgotten after it';
