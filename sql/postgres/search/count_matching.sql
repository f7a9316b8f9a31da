select count(*) from (select from documents d where {filter} limit %(most)s) as matching
