-- Does: asks runs to look up: what they wait for may have happened, or somebody wants something of them.
-- Locks: none: a nudge has no key, so it waits for nobody, and isn't swallowed by one that is just being forgotten.
-- Index: nudge by no.
-- Bound: the ids given.
insert into perdure.nudge (id) select unnest(%(ids)s::bigint[])
