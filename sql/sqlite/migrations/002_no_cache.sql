-- Nothing was ever kept in it.
drop table cache;
