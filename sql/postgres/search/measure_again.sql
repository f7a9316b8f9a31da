-- What was measured stays, but not the state by which the next evaluation would take it for current.
update search_generations set measured = measured - 'state' where generation_id = %(generation_id)s
