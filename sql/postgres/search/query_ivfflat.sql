select e.chunk_id, l2_normalize(e.embedding::{type}({dimension}))::{type}({dimension}) <=> %(vector)s::{type}({dimension}) as distance
from {partition} e
{documents}
where {filter}
order by l2_normalize(e.embedding::{type}({dimension}))::{type}({dimension}) <=> %(vector)s::{type}({dimension})
limit {k}
