-- Does: makes the table of receipts: the effect, which the order's number keeps from happening twice.
-- Locks: access exclusive on the new table.
-- Index: its primary key.
-- Bound: one table.
create table perdure.demo_receipt (
    order_id bigint primary key, job bigint not null, sent_at timestamptz not null default clock_timestamp()
)
