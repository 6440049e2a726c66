-- Does: makes the table in which each start of a handler leaves a row, so that repeats can be counted.
-- Locks: access exclusive on the new table.
-- Index: none.
-- Bound: one table.
create table perdure.demo_run (
    order_id bigint not null, job bigint not null, generation int not null, pid int not null,
    started_at timestamptz not null default clock_timestamp()
)
