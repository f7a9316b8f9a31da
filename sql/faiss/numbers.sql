select number from entries where chunk_id in (select value from json_each(:chunk_ids))
