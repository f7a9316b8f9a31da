-- name: build_binary
create index {index} on {partition}
using hnsw ((binary_quantize(embedding::halfvec({dimension}))::bit({dimension})) bit_hamming_ops)
with (m = {m}, ef_construction = {ef_construction})

-- name: build_hnsw
create index {index} on {partition}
using hnsw ((embedding::{type}({dimension})) {operators})
with (m = {m}, ef_construction = {ef_construction})

-- name: build_ivfflat
-- Over an expression of its own: over that of an HNSW index, the planner took one for the other, and
-- read one list of an index that another generation had built.
create index {index} on {partition}
using ivfflat ((l2_normalize(embedding::{type}({dimension}))::{type}({dimension})) {operators})
with (lists = {lists})

-- name: sample_passing
-- How many of some hundred documents pass, of about so many in all: a sample of blocks tells in less than a
-- millisecond what counting tells in as long as the search itself takes.
with known as (
    select greatest(reltuples, 0)::bigint as documents from pg_class where oid = 'documents'::regclass
)
select count(*) filter (where {filter}) as passing, count(*) as sampled,
    greatest((select documents from known), count(*)) as documents
from documents d tablesample system ((
    select least(100, 50000.0 / greatest(documents, 1)) from known
))

-- name: dead_tuples
-- PostgreSQL's own number of live tuples runs ahead of a fresh `analyze`; they are counted instead.
select
    (
        select coalesce(sum(n_dead_tup), 0)::bigint
        from pg_stat_user_tables
        where relid in (select relid from pg_partition_tree(to_regclass(%(table)s)))
    ) as dead,
    (select count(*) from {partition}) as live

-- name: documents_of
join {chunks} c on c.chunk_id = e.chunk_id
join documents d on d.document_id = c.document_id

-- name: exact
-- Materialized, so that no index on the vectors can be used.
with candidate as materialized (
    select e.chunk_id, e.embedding
    from {partition} e
    {documents}
    where {filter}
)
select chunk_id, embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) as distance
from candidate
order by distance, chunk_id
limit {k}

-- name: index_options
-- What an index was built with.
select option_name, option_value::int
from pg_class, pg_options_to_table(reloptions)
where oid = to_regclass(%(index)s)

-- name: live_of
-- Of the nearest, those that are live, by the document that a chunk's id names: of two look-ups for each chunk one is
-- left. `offset 0` keeps the planner from reading all documents of a small table.
with nearest as materialized (
    {nearest}
)
select n.chunk_id, n.distance
from nearest n
cross join lateral (
    select from documents d
    where d.document_id = left(rtrim(n.chunk_id, '0123456789'), -1) and d.deleted_at is null
    offset 0
) as live

-- name: passing_of
-- Of the nearest, in their order, the first that pass; `offset 0` keeps the planner from joining first.
with nearest as materialized (
    {nearest}
)
select n.chunk_id, n.distance
from nearest n
cross join lateral (
    select from documents d
    where d.document_id = left(rtrim(n.chunk_id, '0123456789'), -1) and {filter}
    offset 0
) as passing
limit {k}

-- name: measure_again
-- What was measured stays, but not the state by which the next evaluation would take it for current.
update search_generations set measured = jsonb_set(measured, '{state}', '""') where generation_id = %(generation_id)s

-- name: partition_version
select concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hash_record_extended(row(text_hash), 0))))
from {partition}

-- name: query
select e.chunk_id, e.embedding::{type}({dimension}) <=> %(vector)s::{type}({dimension}) as distance
from {partition} e
{documents}
where {filter}
order by e.embedding::{type}({dimension}) <=> %(vector)s::{type}({dimension})
limit {k}

-- name: query_binary
-- Candidates by how many signs differ; of those the nearest by the cosine of the stored vectors.
with candidate as materialized (
    select e.chunk_id, e.embedding
    from {partition} e
    {documents}
    where {filter}
    order by binary_quantize(e.embedding::halfvec({dimension}))::bit({dimension})
        <~> binary_quantize(%(vector)s::halfvec({dimension}))::bit({dimension})
    limit {candidates}
)
select chunk_id, embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) as distance
from candidate
order by distance, chunk_id
limit {k}

-- name: query_ivfflat
select e.chunk_id, l2_normalize(e.embedding::{type}({dimension}))::{type}({dimension}) <=> %(vector)s::{type}({dimension}) as distance
from {partition} e
{documents}
where {filter}
order by l2_normalize(e.embedding::{type}({dimension}))::{type}({dimension}) <=> %(vector)s::{type}({dimension})
limit {k}
