-- What the bench has not put into the tables yet; `place` is a random order.
create schema bench;
create table bench.documents (like documents);
create table bench.chunks (like chunks);
create table bench.vectors (like document_embeddings)
