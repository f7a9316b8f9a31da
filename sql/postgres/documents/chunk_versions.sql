select
    collection,
    count(*)::int,
    concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hashbyteaextended(text_hash, 0))))
from chunks
where collection = any(%(collections)s)
group by collection
