-- Not the highest number: of two transactions the one with the lower numbers may commit later.
select count(*) as changes from change_log
