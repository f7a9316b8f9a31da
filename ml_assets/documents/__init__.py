"""Documents: from a source to the tables of documents and chunks, by the row delta.

Here are sources, formats, normalization, chunking, quarantine and the history of a document.
Vectors belong in `embeddings`, everything that is indexed or asked in `search`.
"""
