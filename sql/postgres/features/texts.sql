select document_id, text from documents where document_id = any(%(document_ids)s) order by document_id
