-- What a row was when it was written: a later change by another hand is told by a check. Null: written before
-- this was kept.
create function document_hash(
    title text, text text, label text, url text, group_id text, metadata jsonb, created_at timestamptz
) returns bytea language sql immutable parallel safe as $$
    select sha256(convert_to(jsonb_build_array(
        title, text, label, url, group_id, metadata, extract(epoch from created_at))::text, 'UTF8'))
$$;
create function embedding_hash(embedding halfvec) returns bytea language sql immutable parallel safe as $$
    select substr(sha256(halfvec_send(embedding)), 1, 8)
$$;

alter table documents add column stored_hash bytea, add column chunk_count integer;
alter table document_embeddings add column embedding_hash bytea;
comment on column documents.stored_hash is 'document_hash of the row as it was read';
comment on column documents.chunk_count is 'how many chunks were made of it';
comment on column document_embeddings.embedding_hash is 'of the vector as it was encoded';

update documents
set stored_hash = document_hash(title, text, label, url, group_id, metadata, created_at)
where deleted_at is null;
update documents as d
set chunk_count = c.chunks
from (select document_id, count(*) as chunks from chunks group by document_id) as c
where c.document_id = d.document_id;

alter table finished_run add column written text not null default '';
comment on column finished_run.state is 'of settings, code and judged queries';
comment on column finished_run.written is 'of all that the stores hold: another one, and another hand wrote';
