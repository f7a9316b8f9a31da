-- Whether there is something to train on, or something trained that must learn that there is not.
select exists (select from documents where label is not null) or exists (select from experiments)
