-- What vectors are made of.
create view followed_chunks as
select * from chunks where chunker in (select chunker from chunkers where is_followed);
