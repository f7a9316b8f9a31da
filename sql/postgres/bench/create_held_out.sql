-- What the bench has not put into the tables yet; `place` is a random order.
create schema bench;
create table bench.documents (like documents);
alter table bench.documents drop column fields_hash;
create table bench.chunks (like chunks);
create table bench.vectors (like document_embeddings)
