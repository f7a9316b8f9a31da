-- name: add_space
-- Created, then attached: so nobody who reads vectors of another space has to wait.
create table {partition} (
    like document_embeddings including all,
    check (vector_dims(embedding) = {dimension})
) partition by list (chunker);
alter table document_embeddings attach partition {partition} for values in ({space_id})

-- name: altered_vectors
select case
        when vector_dims(embedding) <> %(dimension)s then 'vectors_of_another_dimension'
        else 'altered_vectors'
    end as problem,
    chunk_id as name
from document_embeddings
where space_id = %(space_id)s
    and (vector_dims(embedding) <> %(dimension)s or embedding_hash <> embedding_hash(embedding))

-- name: count_current
select count(*) as vectors
from document_embeddings
where space_id = %(space_id)s and chunker = %(chunker)s

-- name: create_staging
create temp table if not exists staged_vectors (text_hash bytea primary key, embedding halfvec not null);
truncate staged_vectors

-- name: forget_altered
-- Vectors that another hand changed: the next run encodes their texts again.
delete from document_embeddings
where space_id = %(space_id)s
    and (embedding_hash <> embedding_hash(embedding) or l2_norm(embedding) not between %(least)s and %(most)s)

-- name: find_orphans
-- Vectors, of any space, whose chunk is gone. Created, not filled: only a query that writes no row is
-- parallel.
create temp table orphaned_vectors as
select e.space_id, e.chunk_id, e.chunker
from document_embeddings e
where e.collection = any(%(collections)s)
    and not exists (select from chunks c where c.chunk_id = e.chunk_id and c.chunker = e.chunker)

-- name: find_moved_to_space
-- Documents that get vectors only because the space is new: their present text has one in another.
select distinct c.document_id
from chunks c
where c.collection = any(%(collections)s)
    and c.chunker = any(%(chunkers)s)
    and not exists (
        select from document_embeddings e
        where e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.chunker = c.chunker
    )
    and exists (
        select from document_embeddings e
        where e.space_id <> %(space_id)s and e.chunk_id = c.chunk_id and e.chunker = c.chunker
            and e.text_hash = c.text_hash
    )

-- name: find_pending
-- The followed chunks whose vector is absent, or that of an earlier text, or of another collection or time.
-- What follows asks these few instead of all chunks. Created, not filled: only a query that writes no row is
-- parallel.
create temp table pending_vectors as
select c.chunk_id, c.chunker, c.created_at, c.collection, c.text_hash,
    -- A vector of this chunk: is there none yet, and is it that of the present text?
    e.chunk_id is null as is_new,
    e.text_hash is not distinct from c.text_hash as is_current
from chunks c
left join document_embeddings e
    on e.chunk_id = c.chunk_id and e.chunker = c.chunker and e.space_id = %(space_id)s
where c.collection = any(%(collections)s)
    and c.chunker = any(%(chunkers)s)
    and (e.text_hash, e.collection, e.created_at) is distinct from (c.text_hash, c.collection, c.created_at)

-- name: follow_moves
-- Vectors go where their chunks went. Only those: an update of a row is an insert into the HNSW graph.
update document_embeddings e
set collection = p.collection, created_at = p.created_at
from pending_vectors p
where e.space_id = %(space_id)s and e.chunk_id = p.chunk_id and e.chunker = p.chunker
    and (e.collection, e.created_at) <> (p.collection, p.created_at)

-- name: forget_outdated
-- Vectors of a text that their chunk no longer has; a refresh replaces only those of the current space.
delete from document_embeddings e
using chunks c
where e.space_id = %(space_id)s and c.chunk_id = e.chunk_id and c.chunker = e.chunker
    and c.text_hash <> e.text_hash

-- name: insert_staged
insert into document_embeddings (
    space_id, chunker, created_at, chunk_id, collection, text_hash, embedding, embedding_hash
)
select %(space_id)s, c.chunker, c.created_at, c.chunk_id, c.collection, c.text_hash, s.embedding,
    embedding_hash(s.embedding)
from staged_vectors s
join chunks c using (text_hash)
where c.collection = any(%(collections)s) and c.chunker = any(%(chunkers)s)
on conflict (chunk_id, space_id, chunker, created_at) do update
set collection = excluded.collection, text_hash = excluded.text_hash, embedding = excluded.embedding,
    embedding_hash = excluded.embedding_hash, embedded_at = excluded.embedded_at

-- name: measure_norms
select coalesce(min(l2_norm(embedding)), 1) as smallest, coalesce(max(l2_norm(embedding)), 1) as largest
from document_embeddings
where space_id = %(space_id)s

-- name: pending_counts
-- Chunks without a vector of their present text: new ones, and changed ones.
select collection, count(*) filter (where is_new)::int as added, count(*) filter (where not is_new)::int as changed
from pending_vectors
where not is_current
group by collection

-- name: pending_texts
-- The distinct texts that have no vector in this space yet, in the order of a hash, in which their rows
-- are written, and pgvector builds its graph: one of vectors in the order of their texts' length loses some.
select text_hash, max(case when heading = '' then text else heading || E'\n' || text end) as embedded_text,
    count(*) over ()::int as total
from pending_vectors p
join chunks c using (chunk_id, chunker, text_hash)
where not p.is_current and not exists (
    select from document_embeddings e where e.space_id = %(space_id)s and e.text_hash = p.text_hash
)
group by text_hash
order by text_hash

-- name: pending_tokens
-- Tokens of the distinct texts among the pending ones that have no vector in this space yet.
select coalesce(sum(tokens), 0)::bigint as tokens
from (
    select max(token_count) as tokens
    from pending_vectors p
    join chunks c using (chunk_id, chunker, text_hash)
    where not p.is_current and not exists (
        select from document_embeddings e where e.space_id = %(space_id)s and e.text_hash = p.text_hash
    )
    group by text_hash
) texts

-- name: plan
-- Chunks without a vector of their present text: distinct texts to encode, their tokens, and vectors to copy.
with pending as (
    select c.text_hash, c.token_count,
        exists (
            select from document_embeddings e
            where e.space_id = %(space_id)s and e.text_hash = c.text_hash
        ) as known
    from chunks c
    where c.collection = any(%(collections)s)
        and c.chunker = any(%(chunkers)s)
        and not exists (
            select from document_embeddings e
            where e.space_id = %(space_id)s and e.chunk_id = c.chunk_id and e.chunker = c.chunker
                and e.text_hash = c.text_hash
        )
),
unknown as (
    select max(token_count) as tokens from pending where not known group by text_hash
)
select
    (select count(*) from unknown)::int as encode,
    ((select count(*) from pending) - (select count(*) from unknown))::int as reuse,
    (select coalesce(sum(tokens), 0) from unknown)::bigint as tokens

-- name: register_space
-- The model's name is not in the hash that its id is: the same model may be named in another way. All else that
-- differs was written by another hand.
insert into embedding_spaces (space_id, dimension, definition)
values (%(space_id)s, %(dimension)s, %(definition)s)
on conflict (space_id) do update
set dimension = excluded.dimension, definition = excluded.definition
where (embedding_spaces.dimension, embedding_spaces.definition) <> (excluded.dimension, excluded.definition)

-- name: restore_space
update embedding_spaces
set dimension = %(dimension)s, definition = %(definition)s
where space_id = %(space_id)s and (dimension, definition) <> (%(dimension)s, %(definition)s::jsonb)

-- name: remove_orphans
with removed as (
    delete from document_embeddings e
    using orphaned_vectors o
    where e.space_id = o.space_id and e.chunk_id = o.chunk_id and e.chunker = o.chunker
    returning e.collection, e.space_id
)
select collection, count(*) filter (where space_id = %(space_id)s)::int as removed
from removed
group by collection

-- name: reuse
-- Give pending chunks the vector that an equal text already has in this space.
with known as materialized (
    select distinct on (p.chunk_id, p.chunker) p.chunker, p.created_at, p.chunk_id, p.collection, p.text_hash,
        e.embedding, e.embedding_hash
    from pending_vectors p
    join document_embeddings e on e.space_id = %(space_id)s and e.text_hash = p.text_hash
    where not p.is_current
    order by p.chunk_id, p.chunker
)
insert into document_embeddings (
    space_id, chunker, created_at, chunk_id, collection, text_hash, embedding, embedding_hash
)
select %(space_id)s, chunker, created_at, chunk_id, collection, text_hash, embedding, embedding_hash
from known
on conflict (chunk_id, space_id, chunker, created_at) do update
set collection = excluded.collection, text_hash = excluded.text_hash, embedding = excluded.embedding,
    embedding_hash = excluded.embedding_hash, embedded_at = excluded.embedded_at

-- name: sample_texts
-- Texts with their vectors: of those that were written last together the tenth part, two at least, and as many that
-- a hash picks, %(size)s at most of each.
with newest as (
    select chunk_id, chunker, embedded_at from document_embeddings where space_id = %(space_id)s
    order by embedded_at desc, chunk_id, chunker limit 10 * %(size)s
),
sample as (
    (select chunk_id, chunker from newest order by embedded_at desc, chunk_id, chunker
        limit greatest(2, (select count(*) / 10 from newest where embedded_at = (select max(embedded_at) from newest))))
    union
    (select chunk_id, chunker from document_embeddings where space_id = %(space_id)s
        order by md5(chunk_id), chunk_id, chunker limit %(size)s)
)
select c.chunk_id, case when c.heading = '' then c.text else c.heading || E'\n' || c.text end as text, e.embedding
from sample
join document_embeddings e using (chunk_id, chunker)
join chunks c using (chunk_id, chunker, text_hash)
where e.space_id = %(space_id)s
order by c.chunk_id, c.chunker

-- name: stale_collections
-- Collections with chunks to embed, or vectors that outlived their chunk: a run that was killed between two
-- stages, whatever the source says since. The two tables are joined once, in parallel.
select coalesce(c.collection, e.collection)
from (select * from chunks where chunker = any(%(chunkers)s)) c
full join (
    select chunk_id, chunker, created_at, collection, text_hash
    from document_embeddings
    where space_id = %(space_id)s and chunker = any(%(chunkers)s)
) e using (chunk_id, chunker)
where (c.text_hash, c.collection, c.created_at) is distinct from (e.text_hash, e.collection, e.created_at)
union
select e.collection
from document_embeddings e
where (e.space_id <> %(space_id)s or e.chunker <> all(%(chunkers)s))
    and not exists (select from chunks c where c.chunk_id = e.chunk_id and c.chunker = e.chunker)

-- name: unmatched
-- Followed chunks and their vectors are matched by their keys alone.
select
    case
        when e.chunk_id is null then 'chunks_without_vector'
        when c.chunk_id is null then 'vectors_without_chunk'
        else 'vectors_of_another_text'
    end as problem,
    chunk_id as name
from (select * from chunks where chunker = any(%(chunkers)s)) c
full join (
    select chunker, chunk_id, text_hash
    from document_embeddings
    where space_id = %(space_id)s and chunker = any(%(chunkers)s)
) e using (chunk_id, chunker)
where e.text_hash is distinct from c.text_hash

-- name: versions
select
    collection,
    count(*)::int as count,
    concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hash_record_extended(row(text_hash), 0)))) as content
from document_embeddings
where space_id = %(space_id)s and collection = any(%(collections)s)
    and chunker = any(%(chunkers)s)
group by collection

-- name: forget_runs
delete from embedding_runs where ended_at < now() - interval '1 year'

-- name: points
-- Every metric of every second of the runs that are not known yet, and their mean rate, a run after the other.
select
    run_id, 'embedding' as stage, space_id as family, point ->> 1 as split, point ->> 2 as metric,
    (point -> 0)::integer as step, (point -> 3)::float8 as value, ended_at as logged_at, host, process, device
from embedding_runs
cross join lateral jsonb_array_elements(history || jsonb_build_array(jsonb_build_array(
    round(extract(epoch from ended_at - started_at)), '', 'texts_per_second',
    encoded / greatest(extract(epoch from ended_at - started_at), 1e-6)
))) as point
where run_id <> all(%(known)s)
order by ended_at, run_id

-- name: record_run
insert into embedding_runs (run_id, space_id, encoded, started_at, host, process, device, history)
values (
    %(run_id)s, %(space_id)s, %(encoded)s, %(started_at)s, %(host)s, %(process)s, %(device)s, %(history)s
)
on conflict (run_id) do update
set space_id = excluded.space_id, encoded = embedding_runs.encoded + excluded.encoded, ended_at = now(),
    host = excluded.host, process = excluded.process, device = excluded.device, history = excluded.history

-- name: metric_points
-- What the embeddings that ended in a span of time used, second by second, and their mean rate at the end, a series per
-- row; times in microseconds.
select
    'embedding_' || metric as metric, array_agg(micros order by micros) as times,
    array_agg(value order by micros) as values, run, space, host, process, device
from (
    select
        run_id as run, space_id as space, host, process, device, point ->> 2 as metric,
        (point -> 3)::float8 as value,
        (1e6 * (extract(epoch from started_at) + (point -> 0)::numeric))::bigint as micros
    from embedding_runs
    cross join jsonb_array_elements(history) as point
    where ended_at >= %(begin)s and ended_at < %(end)s
    union all
    select
        run_id, space_id, host, process, device, 'texts_per_second',
        encoded / greatest(extract(epoch from ended_at - started_at)::float8, 1e-6),
        (1e6 * extract(epoch from ended_at))::bigint
    from embedding_runs
    where ended_at >= %(begin)s and ended_at < %(end)s
) as seconds
group by metric, run, space, host, process, device

-- name: vectors_of_alone
-- The vectors of these chunks whose text no other chunk has.
select distinct on (e.space_id, e.text_hash) e.embedding
from document_embeddings e
where e.chunk_id = any(%(chunk_ids)s) and not exists (
    select from document_embeddings o
    where o.space_id = e.space_id and o.text_hash = e.text_hash and o.chunk_id <> all(%(chunk_ids)s)
)
