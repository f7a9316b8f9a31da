-- Why a collection could not be read the last time, and since when that is; it stays as it was. One
-- that was never read has no time of reading.
alter table collections
    add column read_error text,
    add column failed_at timestamptz,
    alter column refreshed_at drop not null;
