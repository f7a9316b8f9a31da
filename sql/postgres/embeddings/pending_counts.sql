-- Chunks without a vector of their present text: new ones, and changed ones.
select collection, count(*) filter (where is_new)::int as added, count(*) filter (where not is_new)::int as changed
from pending_vectors
where not is_current
group by collection
