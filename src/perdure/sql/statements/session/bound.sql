-- Does: bounds this transaction, and it alone, with the settings given; says since when the server that answers has been up, which tells one server from another.
-- Locks: none.
-- Index: none.
-- Bound: the settings given.
select count(set_config(s.name, s.value, true)) as settings, extract(epoch from pg_postmaster_start_time())::float8 as up_since
from unnest(%(names)s::text[], %(values)s::text[]) as s(name, value)
