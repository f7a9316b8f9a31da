-- The life of a generation after it was served: who published it, since when it is retired, whether it
-- was rolled back from (then no run publishes it on its own), and that its indexes were dropped.
alter table search_generations
    drop constraint search_generations_state_check,
    add constraint search_generations_state_check
        check (state in ('building', 'published', 'retired', 'dropped')),
    add column published_by text,
    add column retired_at timestamptz,
    add column withdrawn jsonb;
comment on column search_generations.withdrawn is 'actor, reason and time of the rollback from it; null: none';
update search_generations set retired_at = now() where state = 'retired';

-- Chunks that were replaced or removed since the index was built as a whole: what wears out its graph.
alter table search_index_marks add column worn bigint not null default 0;
