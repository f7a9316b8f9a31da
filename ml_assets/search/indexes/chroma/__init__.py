"""The Chroma index."""
