-- What was read before stays; a collection that never was has the fingerprint of one that is not there.
insert into collections (collection, source, fingerprint, refreshed_at, read_error, failed_at)
select collection, %(source)s, '', null, reason, now()
from unnest(%(collections)s::text[], %(reasons)s::text[]) as given (collection, reason)
on conflict (collection) do update
set read_error = excluded.read_error, failed_at = coalesce(collections.failed_at, excluded.failed_at)
