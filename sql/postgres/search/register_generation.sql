-- One whose indexes were dropped is built again, and has to be measured again.
insert into search_generations (generation_id, space_id, parameters)
values (%(generation_id)s, %(space_id)s, %(parameters)s)
on conflict (generation_id) do update
set state = 'building', measured = null
where search_generations.state = 'dropped'
