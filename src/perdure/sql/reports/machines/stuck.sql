-- Which entities of state machines have stood in their state for longer than they should?
-- Reads: the entities whose time has passed, by an index; 100 at most.
-- Then: see how one came there (perdure machines get MACHINE ID), and move it by an event that its state has.
select machine, id, state, revision, entered_at,
       extract(epoch from clock_timestamp() - stuck_at)::float8 as stuck_seconds
from perdure.entity where stuck_at <= clock_timestamp() order by stuck_at limit 100;
