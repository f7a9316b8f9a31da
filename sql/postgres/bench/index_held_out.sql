alter table bench.documents add primary key (document_id);
alter table bench.chunks add primary key (chunk_id);
alter table bench.vectors add primary key (chunk_id);
create table bench.places as
select row_number() over (order by md5(chunk_id), chunk_id) as place, chunk_id
from bench.chunks
join bench.vectors using (chunk_id, text_hash);
alter table bench.places add primary key (place);
analyze bench.documents, bench.chunks, bench.vectors, bench.places
