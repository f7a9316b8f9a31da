select chunk_id, revision
from entries
where :chunk_ids is null or chunk_id in (select value from json_each(:chunk_ids))
