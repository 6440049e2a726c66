-- Does: drops what a run has recorded from a step on, or (`failed`) only what failed or was cancelled from there on; the messages that it took are back in the inbox, and how often a step was undone stays, as a mark of number 0. What was dropped.
-- Locks: the step rows and the messages' rows.
-- Index: step by run and name; signal_run.
-- Bound: one run: run_steps_max steps. Of the messages that a name took, only the last is of this round.
with gone as (
    delete from perdure.step s
    where s.run = %(run)s::bigint
      and s.seq >= (select f.seq from perdure.step f where f.run = %(run)s::bigint and f.name = %(step)s::text)
      and (not %(failed)s::boolean or s.state in ('failed', 'cancelled'))
    returning s.name, s.kind, s.detail, s.seq, s.state
), untaken as (
    update perdure.signal m set taken = null, taken_at = null
    where m.id = any(array(
        select distinct on (t.taken) t.id from perdure.signal t
        join gone g on g.name = t.taken and g.kind = 'signal' and g.state = 'done'
        where t.run = %(run)s::bigint order by t.taken, t.taken_at desc, t.id desc))
), marked as (
    insert into perdure.step as s (run, name, seq, kind, state, attempt, ended_at)
    select %(run)s::bigint, g.name || '#0', 0, 'patch', 'done', 1, clock_timestamp() from gone g where g.kind = 'undo' and g.state = 'done'
    on conflict (run, name) do update set attempt = s.attempt + 1
)
select name, case when kind = 'child' then split_part(detail, ' ', 1)::bigint end as child from gone order by seq
