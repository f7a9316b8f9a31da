-- The live documents whose text has no values yet, or values of an earlier text.
select entity_id
from entities
anti join (from feature_inputs where view = $view) as inputs using (entity_id, input_hash)
where removed_time is null
order by entity_id
