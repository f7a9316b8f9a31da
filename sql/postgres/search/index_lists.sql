-- The lists that an IVFFlat index was built with.
select option_value::int
from pg_class, pg_options_to_table(reloptions)
where oid = to_regclass(%(index)s) and option_name = 'lists'
