-- The rows that the source of a view gave and that were left out, at its last refresh, by reason.
create table feature_rows_left_out (
    view varchar not null,
    reason varchar not null,
    rows bigint not null
);
