insert into feature_inputs (view, entity_id, input_hash)
select $view, entity_id, input_hash
from changes
where action in ('added', 'changed', 'unchanged')
    and entity_id not in (select entity_id from feature_inputs where view = $view)
