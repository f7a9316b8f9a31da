"""Embeddings: the vector space, the encoder, and the row delta from chunks to vectors."""
