-- Does: asks runs to look up: what they wait for may have happened, or somebody wants something of them.
-- Locks: the nudges' rows.
-- Index: nudge by id.
-- Bound: the ids given.
insert into perdure.nudge (id) select unnest(%(ids)s::bigint[]) on conflict do nothing
