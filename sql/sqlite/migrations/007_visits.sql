-- Counters and sessions have a file of their own: with them every request made of this one another.
drop table counters;
drop table sessions;
