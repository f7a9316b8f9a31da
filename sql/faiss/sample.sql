-- In the order of a hash: spread over all rows, and the same for the same rows.
select vector from entries order by number * 2654435761 % 4294967296 limit :size
