-- Since when an index has every document: those written later are looked at one by one.
alter table search_index_marks add column synced_at timestamptz;
comment on column search_index_marks.synced_at is 'when it last had every document as it was; null: not yet';
create index documents_changed_at on documents (changed_at);
