-- All documents with their features: of the text, just computed or as they were, and of the vectors.
-- The title is embedded with the text, so equal texts need not have equal vectors; their distance is 0.
create or replace temp table computed_documents as
with texts as (
    select {text_columns}, entity_id from computed_texts
    union all
    select {text_columns}, entity_id from ({current})
    where entity_id not in (select entity_id from computed_texts)
),
twins as (
    select text_hash
    from entities
    where removed_time is null
    group by text_hash
    having count(*) > 1
)
select
    entities.* exclude (text_hash),
    {text_columns},
    if(twins.text_hash is null, neighbours.nearest_distance, 0) as nearest_distance
from entities
left join twins on twins.text_hash = entities.text_hash and entities.removed_time is null
left join texts on texts.entity_id = entities.entity_id and entities.removed_time is null
left join neighbours on neighbours.entity_id = entities.entity_id
