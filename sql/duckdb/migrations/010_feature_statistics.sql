-- What the values of a feature were on a day, by the documents (or other entities) that came on it.
-- sketch: how many values have which key, round(1000 ln |x|) + 21000 with the sign of x, 0 for zero; two days are
-- merged by adding up. categories: the same of a feature of words. quantiles: at 0, .01, .05, .25, .5, .75, .95, .99, 1.
create table feature_statistics (
    day date not null,
    view varchar not null,
    version integer not null,
    feature varchar not null,
    rows bigint not null,
    missing bigint not null,
    mean double,
    deviation double,
    quantiles double[],
    sketch map(integer, bigint),
    categories map(varchar, bigint),
    primary key (day, view, version, feature)
);
