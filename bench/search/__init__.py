"""Search on real vectors: every index, a million, churn, and hybrid search beside LangChain."""
