-- FAISS is an index with a ledger, too.
alter table search_index_entries
    drop constraint search_index_entries_index_kind_check,
    add constraint search_index_entries_index_kind_check
        check (index_kind in ('pgvector', 'chroma', 'faiss', 'keyword'));
alter table search_index_marks
    drop constraint search_index_marks_index_kind_check,
    add constraint search_index_marks_index_kind_check check (index_kind in ('chroma', 'faiss', 'keyword'));
