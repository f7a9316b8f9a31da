insert into search_generations (generation_id, space_id, parameters)
values (%(generation_id)s, %(space_id)s, %(parameters)s)
on conflict (generation_id) do nothing
