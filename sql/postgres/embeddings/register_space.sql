insert into embedding_spaces (space_id, dimension, definition)
values (%(space_id)s, %(dimension)s, %(definition)s)
on conflict (space_id) do nothing
