select e.chunk_id, e.embedding::{type}({dimension}) <=> %(vector)s::{type}({dimension}) as distance
from {partition} e
{documents}
where {filter}
order by e.embedding::{type}({dimension}) <=> %(vector)s::{type}({dimension})
limit {k}
