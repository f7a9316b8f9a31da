-- Which kinds of index there are is told by the code alone.
alter table search_index_entries drop constraint search_index_entries_index_kind_check;
alter table search_index_marks drop constraint search_index_marks_index_kind_check;
