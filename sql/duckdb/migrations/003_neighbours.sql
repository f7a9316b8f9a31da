-- The nearest other document of each, so that only documents that changed are compared with all.
create table document_neighbours (
    entity_id varchar not null,
    vector_hash varchar not null,
    neighbour_id varchar,
    nearest_distance double
);
