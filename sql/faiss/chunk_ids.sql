select number, chunk_id from entries where number in (select value from json_each(:numbers))
