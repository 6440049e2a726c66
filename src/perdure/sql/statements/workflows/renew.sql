-- Does: lets a run begin anew: other arguments, nothing recorded but a mark of number 0 that says when, and what it said of itself then; the inbox kept; children whose ends it has heard are started anew, too, if it asks for them again.
-- Locks: the run's row and its steps', and the children's run rows; the job's row is locked by whoever has just settled it.
-- Index: run by job; step by run; job and dead by id. What a start alone has recorded of a child is its id, and no end.
-- Bound: one run: run_steps_max steps.
with again as (
    update perdure.run set round = round + 1 where job = %(run)s::bigint returning job, skew, attributes
), began as (
    insert into perdure.step (run, name, seq, kind, state, attempt, ended_at, outcome)
    select a.job, '#0', 0, 'patch', 'done', 0, clock_timestamp() + a.skew, a.attributes from again a
    on conflict (run, name) do update set ended_at = excluded.ended_at, detail = null, outcome = excluded.outcome
), gone as (
    delete from perdure.step s using again a where s.run = %(run)s::bigint and s.name <> '#0' returning s.kind, s.detail, s.outcome, s.ended_at
), heard as (
    update perdure.run c set superseded = true
    from (select split_part(g.detail, ' ', 1)::bigint as job, g.outcome from gone g where g.kind = 'child' and g.ended_at is not null and g.detail is not null) h
    where c.job = h.job and c.job = any(array(select split_part(g.detail, ' ', 1)::bigint from gone g where g.kind = 'child' and g.detail is not null))
      and c.parent = %(run)s::bigint and not c.superseded and h.outcome::text is distinct from to_json(c.id)::text
      and not exists (select from perdure.job x where x.id = c.job and not exists (select from perdure.dead d where d.id = x.id offset 0) offset 0)
)
update perdure.job j set payload = %(payload)s::text::json from again a where j.id = %(run)s::bigint
