delete from feature_inputs
where view = $view and not exists (
    from changes
    where changes.entity_id = feature_inputs.entity_id
        and changes.input_hash = feature_inputs.input_hash
        and changes.action in ('added', 'changed', 'unchanged')
)
