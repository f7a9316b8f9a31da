-- Builds: all rows of a view that are read are of one build, and another takes its place at once.
create table online_builds (
    build integer primary key autoincrement,
    view text not null,
    is_read integer not null default 0
);
create unique index online_builds_read on online_builds (view) where is_read;

alter table online_features rename to online_features_before;
create table online_features (
    build integer not null,
    entity_id text not null,
    revision text not null,
    features blob not null,
    primary key (build, entity_id)
) without rowid;

insert into online_builds (view, is_read) select distinct view, 1 from online_features_before;
insert into online_features
select build, entity_id, revision, features
from online_features_before
join online_builds using (view);
drop table online_features_before;

-- Caches have a file of their own.
drop table cache;
