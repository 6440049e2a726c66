-- Does: whether a run lives that another than this parent has started.
-- Locks: none.
-- Index: run by job; job and dead by id.
-- Bound: one run.
select r.job from perdure.run r
where r.job = %(run)s::bigint and r.parent is distinct from %(parent)s::bigint
  and exists (select from perdure.job j where j.id = r.job) and not exists (select from perdure.dead d where d.id = r.job)
