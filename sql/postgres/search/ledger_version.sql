select coalesce(encode(sha256(string_agg(convert_to(chunk_id, 'UTF8') || revision, '' order by chunk_id)), 'hex'), '')
from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s
