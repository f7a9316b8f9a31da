"""Search on real vectors: every index, a million, and hybrid search end to end beside LangChain."""
