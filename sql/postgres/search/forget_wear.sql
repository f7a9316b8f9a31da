-- The index was built anew: nothing is worn, and the next evaluation measures the generation again.
with fresh as (
    update search_index_marks set worn = 0
    where generation_id = %(generation_id)s and index_kind = %(index_kind)s
    returning generation_id
)
update search_generations set measured = measured - 'state'
where generation_id in (select generation_id from fresh)
