-- Documents that get vectors only because the space is new: their present text has one in another.
-- A run that follows a killed one does not say it again.
with pending as materialized (
    select distinct c.collection, c.document_id
    from chunks c
    where c.collection = any(%(collections)s)
        and not exists (
            select from document_embeddings e where e.space_id = %(space_id)s and e.chunk_id = c.chunk_id
        )
        and exists (
            select from document_embeddings e
            where e.space_id <> %(space_id)s and e.chunk_id = c.chunk_id and e.text_hash = c.text_hash
        )
)
insert into change_log (stage, collection, document_id, action, reason, run_id)
select 'embeddings', collection, document_id, 'changed', 'vector space ' || %(space_id)s, %(run_id)s
from pending p
where 'vector space ' || %(space_id)s is distinct from (
    select l.reason from change_log l where l.document_id = p.document_id order by l.change_id desc limit 1
)
