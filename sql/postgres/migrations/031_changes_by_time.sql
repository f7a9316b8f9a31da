-- Changes of a day are counted by their time; entries are appended in order of it, so a BRIN index is enough.
create index change_log_changed_at on change_log using brin (changed_at);
