-- name: columns_of_documents
-- Where a document is named by its id; in a table of features only if these are of documents.
select table_name, column_name
from duckdb_columns()
where database_name = current_database() and schema_name = 'main'
    and column_name in ('document_id', 'entity_id', 'neighbour_id')
    and table_name in (select table_name from duckdb_tables())
order by all

-- name: columns_of_labels
-- Where a label is named by itself.
select table_name, column_name
from duckdb_columns()
where database_name = current_database() and schema_name = 'main'
    and column_name in ('label', 'other', 'predicted', 'suggested')
    and not starts_with(table_name, 'features_') -- where a user names columns
    and table_name in (select table_name from duckdb_tables())
order by all

-- name: days_of_documents
-- The days that have statistics, and on which one of the documents came.
select distinct day
from {table} as feature
join feature_statistics on day = feature.event_time::date
where feature.entity_id in (select unnest($ids))
order by day

-- name: forget_label_counts
-- A label that no training set has is counted among those that were left out.
update training_set_builds
set left_out = map_from_entries([entry for entry in map_entries(left_out) if not list_contains($labels, entry.key)])
where len(list_intersect(map_keys(left_out), $labels)) > 0

-- name: forget_drift_of_labels
-- What was found of the labels of a day names them.
delete from feature_drift
where exists (from unnest($labels) as named (label) where contains(before, label) or contains(now, label))

-- name: forget_statistics_of_labels
delete from feature_statistics
where len(list_intersect(map_keys(categories), $labels)) > 0

-- name: rename_groups
update training_sets set group_id = $named[1] where group_id in (select unnest($ids))
