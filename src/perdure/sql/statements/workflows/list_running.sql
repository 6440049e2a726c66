-- Does: the jobs of runs that run, or could as soon as a worker has a slot, the newest first, below a cursor.
-- Locks: none.
-- Index: run_live and waiting by id, side by side; then run, held, dead and job by id.
-- Bound: `limit` runs; of those that wait, which are passed over, only their entries in the two indexes.
with moving as materialized (
    select r.job from perdure.run r
    where r.ended_at is null and r.job < coalesce(%(cursor)s::bigint, 9223372036854775807)
    except all
    select w.id from perdure.waiting w where w.id < coalesce(%(cursor)s::bigint, 9223372036854775807)
)
select m.job from moving m
where (select r.paused_at is null
              and coalesce(r.name = %(name)s::text, %(name)s::text is null)
              and coalesce(r.attributes::jsonb @> %(attributes)s::text::jsonb, %(attributes)s::text is null)
       from perdure.run r where r.job = m.job)
  and (select true from perdure.held h where h.id = m.job) is null
  and (select true from perdure.dead d where d.id = m.job) is null
  and (select true from perdure.job j where j.id = m.job)
order by m.job desc limit %(limit)s::int
