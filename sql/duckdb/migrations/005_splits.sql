-- On which side of the split a text was, and by which words it is known again when it comes under another id.
-- text: the hash of the text whatever its case and spacing; empty, and no words: from before they were kept.
create table split_history (
    seed bigint not null,
    document_id varchar not null,
    text varchar not null,
    words uinteger[] not null,
    split varchar not null,
    primary key (seed, document_id, text)
);

insert into split_history
select builds.seed, sets.document_id, '', [], arg_max(sets.split, builds.build_id)
from training_sets as sets
join training_set_builds as builds on builds.hash = sets.hash
group by builds.seed, sets.document_id;
