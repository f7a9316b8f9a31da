-- Of the graphs only: what is removed leaves no hole in FAISS's lists, and tantivy merges its segments.
-- PostgreSQL's own number of live tuples runs ahead of a fresh `analyze`; they are counted instead.
select
    'pgvector' as index,
    n_dead_tup as dead,
    (select count(*) from document_embeddings where space_id = %(space_id)s) as live
from pg_stat_user_tables
where relid = to_regclass(%(partition)s)
union all
select index_kind, worn, (
    select count(*) from search_index_entries e
    where e.generation_id = m.generation_id and e.index_kind = m.index_kind
)
from search_index_marks m
where generation_id = %(generation_id)s and index_kind = 'chroma'
