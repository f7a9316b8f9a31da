-- Collections with documents to chunk again, or chunks to embed, whatever their source says.
select distinct d.collection
from documents d
left join chunks c using (document_id)
left join document_embeddings e on e.chunk_id = c.chunk_id and e.space_id = %(space_id)s
where d.deleted_at is null
    and (
        (d.chunked_hash, d.chunker) is distinct from (d.content_hash, %(chunker)s)
        or e.chunk_id is null
        or e.text_hash <> c.text_hash
        or e.collection <> c.collection
    )
order by 1
