create index {index} on {partition}
using ivfflat ((embedding::{type}({dimension})) {operators})
with (lists = {lists})
