select concat_ws(' ', count(*), sum(hashtextextended(chunk_id, hashbyteaextended(revision, 0))))
from search_index_entries
where generation_id = %(generation_id)s and index_kind = %(index_kind)s
