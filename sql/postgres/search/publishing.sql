-- name: chunkers_read
select distinct parameters -> 'chunking' ->> 'chunker' from search_generations where dropped_at is null

-- name: count_lacking
-- Live documents that the generation's chunker did not cut as they are, or whose chunks lack a vector.
select count(*) filter (where m.content_hash is distinct from d.content_hash or lacks.vectors) as lacking,
    count(*) as live
from documents d
left join chunked_documents m on m.document_id = d.document_id and m.chunker = %(chunker)s
cross join lateral (
    select exists (
        select from {chunks} c
        left join {partition} e on e.chunk_id = c.chunk_id and byteaeq(e.text_hash, c.text_hash)
        where c.document_id = d.document_id and e.chunk_id is null
    ) as vectors
) lacks
where d.deleted_at is null

-- name: definitions
select generation_id, space_id, parameters, fusion, created_at, dropped_at from search_generations

-- name: expired
-- Those with indexes that were kept for so many days since they were served, or else since they were built; the
-- longest kept first.
select generation_id
from search_generations
left join unnest(%(served)s::text[], %(until)s::timestamptz[]) as service (generation_id, until) using (generation_id)
where dropped_at is null and generation_id <> %(described)s
    and not (generation_id = any(%(served)s) and until is null)
    and greatest(created_at, until) <= now() - make_interval(secs => %(days)s * 86400)
order by greatest(created_at, until), generation_id

-- name: forget_generation
-- Its row stays, with its measurements.
with entries as (
    delete from search_index_entries where generation_id = %(generation_id)s
), marks as (
    delete from search_index_marks where generation_id = %(generation_id)s
)
update search_generations set dropped_at = now() where generation_id = %(generation_id)s

-- name: other_generations
select generation_id
from search_generations
where generation_id <> %(generation_id)s and dropped_at is null

-- name: list_generations
select
    g.generation_id, g.space_id, s.definition ->> 'model' as model, g.parameters, g.created_at,
    g.dropped_at is not null as dropped,
    (
        select count(*) from search_index_entries e
        where e.generation_id = g.generation_id and e.index_kind = any(%(text_kinds)s)
    ) as chunks
from search_generations g
join embedding_spaces s using (space_id)
order by g.created_at desc

-- name: restore_generation
insert into search_generations (generation_id, space_id, parameters, fusion, created_at, dropped_at)
values (%(generation_id)s, %(space_id)s, %(parameters)s, %(fusion)s, %(created_at)s, %(dropped_at)s)
on conflict (generation_id) do update
set space_id = excluded.space_id, parameters = excluded.parameters, fusion = excluded.fusion,
    dropped_at = excluded.dropped_at
