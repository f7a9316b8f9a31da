"""Search: one generation of indexes, from its parameters to answers that are measured.

Sub-rooms: `indexes`, `filters`, `answering`, `evaluation`, `publishing`, importing in this order.
Vectors belong in `embeddings`; publishing as such, for models too, in `releases`.
"""
