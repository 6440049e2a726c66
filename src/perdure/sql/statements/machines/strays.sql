-- Does: states of a machine that entities stand in and that a new declaration doesn't have.
-- Locks: none.
-- Index: entity_state, one look for each state there is now.
-- Bound: the machine's states.
select s.state from perdure.machine_state s
where s.machine = %(machine)s::text and s.state <> all(%(states)s::text[])
  and exists (select from perdure.entity e where e.machine = s.machine and e.state = s.state)
order by s.state
