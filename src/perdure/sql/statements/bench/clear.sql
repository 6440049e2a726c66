-- Does: empties the places between two measurements, so that each begins with the same tables.
-- Locks: access exclusive on the tables; nobody else works in the schema of a benchmark.
-- Index: none.
-- Bound: no row is read.
truncate perdure.floor, perdure.job, perdure.ready, perdure.scheduled, perdure.lease, perdure.held, perdure.dead,
    perdure.history, perdure.attempt, perdure.cancel_request, perdure.unique_key, perdure.waiting, perdure.run, perdure.step, perdure.signal,
    perdure.nudge, perdure.plea
