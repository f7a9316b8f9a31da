-- name: add_chunker
-- Created, then attached: so nobody who reads the table has to wait.
create table {partition} (like {table} including all) partition by range (created_at);
create table {default} partition of {partition} default;
alter table {table} attach partition {partition} for values in ({chunker})
