"""Documents: sources, normalisation, chunking, and the row delta from source to tables."""
