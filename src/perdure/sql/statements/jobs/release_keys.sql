-- Does: lets go of the unique keys of jobs that are done. Those with a lifetime stay until it is over.
-- Locks: the keys, skipping locked ones: an enqueue that finds the job gone frees them, and so does a chore.
-- Index: unique_key by id.
-- Bound: the ids given.
with mine as materialized (
    select u.ctid as place from perdure.unique_key u
    where u.id = any(%(ids)s::bigint[]) and u.expires_at is null
    for update skip locked
)
delete from perdure.unique_key u where u.ctid = any(array(select place from mine)) returning u.id
