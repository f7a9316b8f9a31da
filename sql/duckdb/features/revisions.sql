select entity_id, value_hash from ({current})
