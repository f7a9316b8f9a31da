create index {index} on {partition}
using hnsw ((binary_quantize(embedding::halfvec({dimension}))::bit({dimension})) bit_hamming_ops)
with (m = {m}, ef_construction = {ef_construction})
