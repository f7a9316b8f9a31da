-- A fresh measurement waits beside the published one until the checks have passed: serving reads
-- `evaluation`, and only publishing moves `measured` there.
alter table search_generations add column measured jsonb;
update search_generations set measured = evaluation;
