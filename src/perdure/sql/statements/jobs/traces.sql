-- Does: which (id, generation) pairs were settled under their lease, by history or the attempt log (where a rescue is no settlement): the answer to a settlement of unknown outcome.
-- Locks: none.
-- Index: history by id; attempt by job.
-- Bound: the ids given.
select t.id
from unnest(%(ids)s::bigint[], %(generations)s::int[], %(leases)s::bigint[]) as t(id, generation, lease)
cross join lateral (
    (select 1 from perdure.history h where h.id = t.id and h.generation = t.generation and h.lease = t.lease limit 1)
    union all
    (select 1 from perdure.attempt a
     where a.job = t.id and a.generation = t.generation and a.lease = t.lease and a.ending <> 'rescued' limit 1)
    limit 1
) settled
