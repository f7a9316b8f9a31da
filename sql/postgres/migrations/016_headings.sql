-- The headings of a document, where its chunks are cut, and those above each chunk.
alter table documents add column headings jsonb not null default '[]';
comment on column documents.headings is 'where each section begins, in characters, the level of its heading, and its words';
alter table chunks add column path text[] not null default '{}';
comment on column chunks.path is 'the headings above all of it, outermost first, without the title';
comment on column chunks.heading is 'title and path, clipped to the tokens the model has left beside the chunk';
comment on column documents.content_hash is 'sha256 of text, title, label, url, group, metadata, created_at and headings, if there are any';

-- Of a document without headings it is what it was before there were any.
create function document_hash(
    title text, text text, label text, url text, group_id text, metadata jsonb, created_at timestamptz, headings jsonb
) returns bytea language sql immutable parallel safe as $$
    select case
        when headings = '[]' then hash
        else sha256(hash || convert_to(headings::text, 'UTF8'))
    end
    from (select document_hash(title, text, label, url, group_id, metadata, created_at) as hash) as of_the_rest
$$;
create or replace function is_altered(d documents) returns boolean language sql immutable parallel safe as $$
    select d.deleted_at is null
        and d.stored_hash <> document_hash(
            d.title, d.text, d.label, d.url, d.group_id, d.metadata, d.created_at, d.headings)
$$;

-- With the new column.
create or replace view current_chunks as
select * from chunks where chunker = (select chunker from chunkers where is_current);
