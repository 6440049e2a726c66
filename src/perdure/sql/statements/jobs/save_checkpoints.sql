-- Does: saves how far jobs have come, each only if it is still the generation given and not behind what is saved; what advanced counts its attempts and rescues from nought again.
-- Locks: the job rows, in ascending id, skipping locked ones; then their checkpoints.
-- Index: job and checkpoint by id.
-- Bound: the ids given, each generation of them once. What isn't returned was stale, or locked by another transaction.
with mine as materialized (
    select t.* from unnest(%(ids)s::bigint[], %(generations)s::int[], %(serials)s::bigint[], %(versions)s::int[], %(values)s::text[])
         as t(id, generation, serial, version, value)
    join perdure.job j on j.id = t.id and j.generation = t.generation
    where j.id = any(%(ids)s::bigint[])
    order by j.id for no key update of j skip locked
), saved as (
    insert into perdure.checkpoint as c (job, generation, serial, version, value, saved_at, advanced_at, advanced_in)
    select id, generation, serial, version, value::json, statement_timestamp(), statement_timestamp(), generation from mine order by id
    on conflict (job) do update
    set generation = excluded.generation, serial = excluded.serial, version = excluded.version, value = excluded.value,
        saved_at = excluded.saved_at,
        advanced_at = case when c.value::text = excluded.value::text then c.advanced_at else excluded.advanced_at end,
        advanced_in = case when c.value::text = excluded.value::text then c.advanced_in else excluded.advanced_in end
    where (c.generation, c.serial) < (excluded.generation, excluded.serial)
    returning c.job, c.advanced_at = c.saved_at as advanced
), renewed as (
    update perdure.job j set attempt = 0, rescues = 0
    from saved s where j.id = s.job and j.id = any(array(select job from saved)) and s.advanced and (j.attempt > 0 or j.rescues > 0)
)
select mine.id, mine.generation, coalesce(saved.advanced, false) or exists (
           select from perdure.checkpoint c where c.job = mine.id and c.advanced_in = mine.generation offset 0) as advanced
from mine left join saved on saved.job = mine.id
