insert into collections (collection, source, fingerprint)
select collection, %(source)s, fingerprint
from unnest(%(collections)s::text[], %(fingerprints)s::text[]) as given (collection, fingerprint)
on conflict (collection) do update
set source = excluded.source, fingerprint = excluded.fingerprint, refreshed_at = now(),
    read_error = null, failed_at = null
