-- What a quarantined row was when it was written, and how many each collection had: what another hand changes,
-- adds or removes is told by a check.
create function rejection_hash(
    collection text, location text, document_id text, reason text, rejected_at timestamptz
) returns bytea language sql immutable parallel safe as $$
    select sha256(convert_to(
        jsonb_build_array(collection, location, document_id, reason, extract(epoch from rejected_at))::text, 'UTF8'))
$$;

alter table rejected_documents add column stored_hash bytea;
comment on column rejected_documents.stored_hash is 'rejection_hash of the row as it was written';
update rejected_documents
set stored_hash = rejection_hash(collection, location, document_id, reason, rejected_at);

create table rejected_counts (
    collection text primary key,
    rejected integer not null
);
comment on table rejected_counts is 'how many rows of a collection were quarantined when it was read; none: no row here';
insert into rejected_counts select collection, count(*) from rejected_documents group by collection;
