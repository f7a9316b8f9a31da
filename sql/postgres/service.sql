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

-- name: judge
insert into judgments (query, document_id, judged_by, is_relevant, release_id)
values (%(query)s, %(document_id)s, %(judged_by)s, %(is_relevant)s, %(release_id)s)
on conflict (judged_by, document_id, query) do update
set is_relevant = excluded.is_relevant, release_id = excluded.release_id, judged_at = clock_timestamp()

-- name: withdraw_judgment
delete from judgments
where judged_by = %(judged_by)s and document_id = %(document_id)s and query = %(query)s

-- name: judgments_of
-- What somebody said of these documents for a query.
select document_id, is_relevant
from judgments
where judged_by = %(judged_by)s and document_id = any(%(document_ids)s) and query = %(query)s

-- name: judged
-- What most of those who judged a document for a query said; where they are even, it is left out.
select query, document_id, count(*) filter (where is_relevant) > count(*) filter (where not is_relevant)
from judgments
group by query, document_id
having count(*) filter (where is_relevant) <> count(*) filter (where not is_relevant)
order by query, document_id
