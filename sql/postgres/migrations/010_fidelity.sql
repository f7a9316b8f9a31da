-- When a vector was written, so that the newest can be sampled; and what the last sample showed.
alter table document_embeddings add column embedded_at timestamptz not null default now();
alter table embedding_spaces add column fidelity jsonb;
