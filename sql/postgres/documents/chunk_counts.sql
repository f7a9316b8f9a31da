select collection, count(*)::int from chunks where collection = any(%(collections)s) group by collection
