create index {index} on {partition}
using hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops)
with (m = {m}, ef_construction = {ef_construction})
