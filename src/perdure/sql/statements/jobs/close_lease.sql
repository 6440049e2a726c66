-- Does: drops leases of workers that aren't alive once none of their jobs is left in them; a later statement than the rescue that emptied them.
-- Locks: the lease rows, skipping locked ones.
-- Index: lease by worker; job by id.
-- Bound: `limit` leases.
with empty as materialized (
    select l.id from perdure.lease l
    where not exists (select from perdure.worker w where w.id = l.worker and w.state in ('alive', 'draining'))
      and not exists (select from perdure.job j join unnest(l.jobs, l.generations) as t(id, generation)
                      on j.id = t.id and j.generation = t.generation where j.id = any(l.jobs))
    order by l.id limit %(limit)s::int for update of l skip locked
)
delete from perdure.lease l where l.id = any(array(select id from empty)) returning l.id
