select coalesce(md5(string_agg(entity_id || value_hash, '' order by entity_id)), '') from ({current})
