insert into search_index_entries (generation_id, index_kind, chunk_id, revision)
select %(generation_id)s, %(index_kind)s, chunk_id, revision
from unnest(%(chunk_ids)s::text[], %(revisions)s::bytea[]) as entry (chunk_id, revision)
on conflict (generation_id, index_kind, chunk_id) do update set revision = excluded.revision
