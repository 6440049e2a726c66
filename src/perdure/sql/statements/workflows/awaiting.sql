-- Does: which runs wait, and whether for a signal of this name.
-- Locks: none.
-- Index: waiting by id; step by run.
-- Bound: one run, and what it has recorded.
select w.id from perdure.waiting w
where w.id = %(run)s::bigint
  and (%(name)s::text is null
       or exists (select from perdure.step s where s.run = w.id and s.kind = 'signal' and s.state = 'waiting' and s.detail = %(name)s::text offset 0))
