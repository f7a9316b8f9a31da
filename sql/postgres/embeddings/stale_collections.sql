-- Collections with documents to chunk again, chunks to embed, or rows that outlived what they were
-- made from: a run that was killed between two stages, whatever the source says since.
select d.collection
from documents d
left join chunks c using (document_id)
left join document_embeddings e on e.chunk_id = c.chunk_id and e.space_id = %(space_id)s
where d.deleted_at is null
    and (
        (d.chunked_hash, d.chunker) is distinct from (d.content_hash, %(chunker)s)
        or e.chunk_id is null
        or e.text_hash <> c.text_hash
        or c.collection <> d.collection
        or e.collection <> d.collection
    )
union
select d.collection
from chunks c
join documents d using (document_id)
where d.deleted_at is not null
union
select e.collection
from document_embeddings e
where not exists (select from chunks c where c.chunk_id = e.chunk_id)
order by 1
