-- The vector of each document, the mean of its chunks' vectors, so that only those that changed are read again.
create table document_vectors (
    entity_id varchar not null,
    vector_hash varchar not null,
    vector float[] not null
);
-- Their hashes are of other things than before.
delete from document_neighbours;
