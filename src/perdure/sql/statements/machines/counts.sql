-- Does: every declared machine with its states, and how many entities stand in each, stuck ones among them.
-- Locks: none.
-- Index: entity_state; whole of entity where there are many.
-- Bound: the states of all machines.
select s.machine, s.state, m.initial = s.state as initial, coalesce(c.entities, 0) as entities, coalesce(c.stuck, 0) as stuck
from perdure.machine_state s join perdure.machine m on m.name = s.machine
left join (select machine, state, count(*) as entities, count(*) filter (where stuck_at <= clock_timestamp()) as stuck
           from perdure.entity group by 1, 2) c on c.machine = s.machine and c.state = s.state
order by s.machine, s.state
