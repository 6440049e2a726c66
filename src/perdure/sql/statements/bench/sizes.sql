-- Does: the bytes on disk, indexes included, of the tables that jobs pass through, and their dead rows.
-- Locks: none.
-- Index: none; the catalogue and the statistics.
-- Bound: five rows.
select c.relname as name, pg_total_relation_size(c.oid) as bytes, coalesce(s.n_dead_tup, 0) as dead
from pg_class c left join pg_stat_all_tables s on s.relid = c.oid
where c.oid in ('perdure.job'::regclass, 'perdure.ready'::regclass, 'perdure.scheduled'::regclass,
                'perdure.lease'::regclass, 'perdure.worker'::regclass)
order by c.relname
