select chunk_id
from chunks
order by md5(%(turn)s || chunk_id), chunk_id
limit %(size)s
