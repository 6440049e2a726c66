-- Which days of history and of the attempt log have their partitions?
-- Reads: the catalogue; one row of each default partition.
-- Then: too few days ahead mean that no worker has made them; see why in the report background.units.
with days as (
    select t.parent, to_date(right(c.relname, 8), 'YYYYMMDD') as day
    from (values ('history', 'perdure.history'::regclass), ('attempt', 'perdure.attempt'::regclass)) as t(parent, oid)
    join pg_inherits i on i.inhparent = t.oid
    join pg_class c on c.oid = i.inhrelid and c.relname ~ '_[0-9]{8}$'
)
select p.parent, (select count(*) from days d where d.parent = p.parent) as days,
       (select to_char(min(d.day), 'YYYY-MM-DD') from days d where d.parent = p.parent) as oldest,
       (select to_char(max(d.day), 'YYYY-MM-DD') from days d where d.parent = p.parent) as newest,
       -- The days after today without a gap; -1: today itself has none.
       (select min(n) - 1 from generate_series(0, 32) n where not exists (
           select from days d where d.parent = p.parent and d.day = (now() at time zone 'UTC')::date + n)) as days_ahead,
       case p.parent when 'history' then exists (select from perdure.history_default)
                     else exists (select from perdure.attempt_default) end as strays
from (values ('history'), ('attempt')) as p(parent);
