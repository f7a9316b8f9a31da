-- The file's own version, free for use and changed with the rows, is the last number that training saw.
select count(*) from entries where number <= (select user_version from pragma_user_version)
