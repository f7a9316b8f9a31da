-- The next ones of those that were held out.
delete from bench.places
where place in (select place from bench.places order by place limit %(size)s)
returning chunk_id
