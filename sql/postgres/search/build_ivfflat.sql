-- Over an expression of its own: over that of an HNSW index, the planner took one for the other, and
-- read one list of an index that another generation had built.
create index {index} on {partition}
using ivfflat ((l2_normalize(embedding::{type}({dimension}))::{type}({dimension})) {operators})
with (lists = {lists})
