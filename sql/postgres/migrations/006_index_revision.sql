-- The revision of a chunk in an index: a hash over all that an index stores of it. In one place,
-- because what was indexed and what should be are compared by it.
create function index_revision(
    text_hash bytea, title text, label text, collection text, created_at timestamptz, metadata jsonb
) returns bytea language sql stable as $$
    select sha256(text_hash || convert_to(
        jsonb_build_array(title, label, collection, extract(epoch from created_at), metadata)::text, 'UTF8'))
$$;
