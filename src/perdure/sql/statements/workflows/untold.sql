-- Does: runs that don't know that they have ended: somebody else has ended their job, who buried, discarded or shed it, or by SQL alone.
-- Locks: none.
-- Index: dead whole, which is small, and run by job; with `all`, run whole and job by id.
-- Bound: `limit` runs.
select job from (
    (select r.job from perdure.dead d cross join lateral (select x.job, x.ended_at from perdure.run x where x.job = d.id limit 1) r
     where r.ended_at is null order by r.job limit %(limit)s::int)
    union
    (select r.job from perdure.run r
     where %(all)s::boolean and r.ended_at is null and not exists (select from perdure.job j where j.id = r.job offset 0)
     order by r.job limit %(limit)s::int)
) e
order by job limit %(limit)s::int
