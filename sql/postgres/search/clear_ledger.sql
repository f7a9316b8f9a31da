delete from search_index_entries where generation_id = %(generation_id)s and index_kind = %(index_kind)s
