select e.chunk_id, l2_normalize(e.embedding::{type}({dimension}))::{type}({dimension}) <=> %(vector)s::{type}({dimension})
from {partition} e
join chunks c on c.chunk_id = e.chunk_id
join documents d on d.document_id = c.document_id
where {filter}
order by l2_normalize(e.embedding::{type}({dimension}))::{type}({dimension}) <=> %(vector)s::{type}({dimension})
limit %(k)s
