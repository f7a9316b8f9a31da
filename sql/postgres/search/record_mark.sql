insert into search_index_marks (generation_id, index_kind, mark)
values (%(generation_id)s, %(index_kind)s, %(mark)s)
on conflict (generation_id, index_kind) do update
set mark = excluded.mark, worn = search_index_marks.worn + %(worn)s
where search_index_marks.mark <> excluded.mark or %(worn)s > 0
