select mark from search_index_marks where generation_id = %(generation_id)s and index_kind = %(index_kind)s
