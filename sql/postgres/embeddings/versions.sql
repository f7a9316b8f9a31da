select
    collection,
    count(*)::int,
    concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hashbyteaextended(text_hash, 0))))
from document_embeddings
where space_id = %(space_id)s and collection = any(%(collections)s)
group by collection
