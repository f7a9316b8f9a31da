-- Documents that get vectors only because the space is new: their present text has one in another.
insert into change_log (stage, collection, document_id, action, reason, run_id)
select distinct 'embeddings', c.collection, c.document_id, 'changed', 'vector space ' || %(space_id)s,
    %(run_id)s
from chunks c
where c.collection = any(%(collections)s)
    and not exists (
        select from document_embeddings e where e.space_id = %(space_id)s and e.chunk_id = c.chunk_id
    )
    and exists (
        select from document_embeddings e
        where e.space_id <> %(space_id)s and e.chunk_id = c.chunk_id and e.text_hash = c.text_hash
    )
