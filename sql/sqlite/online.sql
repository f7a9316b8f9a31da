-- name: begin_build
insert into online_builds (view) values (?)

-- name: delete_rows
delete from online_features
where build = (select build from online_builds where view = ? and is_read) and entity_id = ?

-- name: forget_all_unread
delete from online_features where build not in (select build from online_builds where is_read);
delete from online_builds where not is_read;

-- name: forget_builds
-- Builds that are not read any more, or were never finished.
delete from online_builds where view = ? and not is_read

-- name: forget_rows
delete from online_features
where build in (select build from online_builds where view = ? and not is_read)

-- name: is_there
select 1 from online_builds where build = ?

-- name: publish
update online_builds set is_read = 1 where build = ?

-- name: read
-- One row without an entity tells the build where none of them is there.
select builds.build, features.entity_id, features.revision, features.features
from online_builds as builds
left join online_features as features
    on features.build = builds.build and features.entity_id in (select value from json_each(?))
where builds.view = ? and builds.is_read

-- name: read_build
select build from online_builds where view = ? and is_read

-- name: retire
update online_builds set is_read = 0 where view = ? and is_read

-- name: revisions
select entity_id, revision
from online_features
where build = (select build from online_builds where view = ? and is_read)

-- name: views
select view
from online_builds
where is_read and exists (select 1 from online_features where online_features.build = online_builds.build)
order by view

-- name: write
insert or replace into online_features values (?, ?, ?, ?)
