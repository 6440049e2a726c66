-- Does: makes the shop's own table of orders.
-- Locks: access exclusive on the new table.
-- Index: its primary key.
-- Bound: one table.
create table perdure.demo_order (id bigint primary key, amount numeric(10, 2) not null, paid_at timestamptz not null)
