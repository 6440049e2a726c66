-- Does: of runs that have just gone to wait, those for which what they wait for is there already.
-- Locks: none. It must be a later statement than the one that locks the runs, to see what was committed before that.
-- Index: step by run; signal_run; job and dead by id of children; nudge by id.
-- Bound: the ids given; what each has recorded.
select r.id from unnest(%(ids)s::bigint[]) as r(id)
where exists (select from perdure.nudge n where n.id = r.id offset 0)
   or exists (select from perdure.signal m where m.run = r.id and m.taken is null and m.refusal is null
              and ((m.update and m.answered_at is null)
                   or exists (select from perdure.step s where s.run = r.id and s.kind = 'signal' and s.state = 'waiting' and s.detail = m.name offset 0)) offset 0)
   or exists (select from perdure.step s where s.run = r.id and s.kind = 'child' and s.state = 'waiting'
              and (not exists (select from perdure.job j where j.id = s.detail::bigint offset 0)
                   or exists (select from perdure.dead d where d.id = s.detail::bigint offset 0)) offset 0)
