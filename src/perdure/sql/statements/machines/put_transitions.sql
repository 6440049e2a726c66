-- Does: makes a machine's transitions what is declared.
-- Locks: their rows.
-- Index: transition by machine.
-- Bound: the machine's transitions.
with wanted as (
    select * from unnest(%(events)s::text[], %(sources)s::text[], %(targets)s::text[], %(afters)s::float8[])
        as t(event, source, target, seconds)
), gone as (
    delete from perdure.transition t where t.machine = %(machine)s::text
      and not exists (select from wanted w where w.source = t.source and w.event = t.event)
)
insert into perdure.transition (machine, event, source, target, after)
select %(machine)s::text, event, source, target, seconds * interval '1 second' from wanted
on conflict (machine, source, event) do update set target = excluded.target, after = excluded.after
