"""Embeddings: the vector space, the encoders, and the row delta from chunks to vectors.

One module per way to run a model, in `runtimes`. Indexes over vectors belong in `search`, the
cutting of texts in `documents`.
"""
