select
    collection,
    encode(sha256(string_agg(convert_to(chunk_id, 'UTF8') || text_hash, '' order by chunk_id)), 'hex')
from chunks
where collection = any(%(collections)s)
group by collection
