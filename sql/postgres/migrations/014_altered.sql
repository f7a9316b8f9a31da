-- Whether another hand changed a row since it was written: one rule for the check that tells it, and the repair.
create function is_altered(d documents) returns boolean language sql immutable parallel safe as $$
    select d.deleted_at is null
        and d.stored_hash <> document_hash(d.title, d.text, d.label, d.url, d.group_id, d.metadata, d.created_at)
$$;
create function is_altered(r rejected_documents) returns boolean language sql immutable parallel safe as $$
    select r.stored_hash is distinct from
        rejection_hash(r.collection, r.location, r.document_id, r.reason, r.rejected_at)
$$;
create function is_altered(c chunks, d documents) returns boolean language sql immutable parallel safe as $$
    select c.text <> substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset)
        or c.text_hash
            <> sha256(convert_to(case when c.heading = '' then '' else c.heading || E'\n' end || c.text, 'UTF8'))
$$;
