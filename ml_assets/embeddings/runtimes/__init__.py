"""Ways to run a model, one module each, and what they share; `embeddings.encoder` chooses one."""
