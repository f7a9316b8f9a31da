-- Before which day points were dropped, in one row: rollups have them still, so that day is the first of which points are written,
-- however much is kept later.
create table metric_dropped (
    is_one boolean primary key default true check (is_one),
    before date not null
);
