-- Does: gives each named queue a row if it has none.
-- Locks: the unique name, against another session creating the same queue.
-- Index: queue by name.
-- Bound: the names given.
insert into perdure.queue (name)
select distinct name from unnest(%(names)s::text[]) as t(name)
where not exists (select from perdure.queue q where q.name = t.name)
order by name
on conflict (name) do nothing
