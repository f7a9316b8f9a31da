create index {index} on {partition}
using hnsw ((embedding::{type}({dimension})) {operators})
with (m = {m}, ef_construction = {ef_construction})
