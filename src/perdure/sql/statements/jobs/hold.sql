-- Does: holds one claimed job for a transaction of its handler, if it is still the generation that was claimed, and stands in the lease of that claim: a server that took over may lack it, and has the job elsewhere then.
-- Locks: the job row, in the weakest mode there is: rescue skips it, an end by its own worker needn't wait.
-- Index: job by id; lease by id.
-- Bound: one row, and one lease.
select j.id from perdure.job j
where j.id = %(id)s::bigint and j.generation = %(generation)s::int
  and exists (select from perdure.lease l where l.id = %(lease)s::bigint and %(id)s::bigint = any(l.jobs) offset 0)
for key share of j
