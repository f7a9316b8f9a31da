-- All documents with their features: of the text, just computed or as they were, and of the vectors.
create or replace temp table computed_documents as
with texts as (
    select {text_columns}, entity_id from computed_texts
    union all
    select {text_columns}, entity_id from ({current})
    where entity_id not in (select entity_id from computed_texts)
)
select entities.*, {text_columns}, neighbours.nearest_distance
from entities
left join texts on texts.entity_id = entities.entity_id and entities.removed_time is null
left join neighbours on neighbours.entity_id = entities.entity_id
