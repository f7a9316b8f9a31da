-- name: insert_key
insert into api_keys (key_id, name, role, scopes, secret_hash, created_by)
values (%(key_id)s, %(name)s, %(role)s, %(scopes)s, %(secret_hash)s, %(created_by)s)

-- name: revoke_key
update api_keys set revoked_at = clock_timestamp(), revoked_by = %(revoked_by)s
where key_id = %(key_id)s and revoked_at is null

-- name: keys
select key_id, name, role, scopes, secret_hash, created_at, created_by, revoked_at
from api_keys
order by created_at, key_id

-- name: record_deployment
insert into deployments (process_id, host, pid, address, version, release_id, since)
values (%(process_id)s, %(host)s, %(pid)s, %(address)s, %(version)s, %(release_id)s, %(since)s)
on conflict (process_id) do update
set release_id = excluded.release_id, since = excluded.since, seen_at = clock_timestamp()

-- name: forget_deployments
-- Its own, at the end; and those that ended without a word.
delete from deployments
where process_id = %(process_id)s or seen_at < clock_timestamp() - interval '1 day'

-- name: deployments
-- Those that were heard of lately.
select host, pid, address, version, release_id, since, seen_at
from deployments
where seen_at > clock_timestamp() - interval '1 minute'
order by host, pid
