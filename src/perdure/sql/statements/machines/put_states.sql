-- Does: makes a machine's states what is declared.
-- Locks: their rows.
-- Index: machine_state by machine.
-- Bound: the machine's states.
with wanted as (
    select * from unnest(%(states)s::text[], %(stuck)s::float8[]) as t(state, seconds)
), gone as (
    delete from perdure.machine_state s where s.machine = %(machine)s::text and s.state <> all(%(states)s::text[])
)
insert into perdure.machine_state (machine, state, stuck_after)
select %(machine)s::text, state, seconds * interval '1 second' from wanted
on conflict (machine, state) do update set stuck_after = excluded.stuck_after
