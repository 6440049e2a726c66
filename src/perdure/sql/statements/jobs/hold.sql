-- Does: holds one claimed job for a transaction of its handler, if it is still the generation that was claimed.
-- Locks: the job row, in the weakest mode there is: rescue skips it, an end by its own worker needn't wait.
-- Index: job by id.
-- Bound: one row.
select j.id from perdure.job j where j.id = %(id)s::bigint and j.generation = %(generation)s::int for key share
