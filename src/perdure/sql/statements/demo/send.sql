-- Does: records an order's receipt unless it has one, which makes a second run harmless.
-- Locks: the new row.
-- Index: the primary key.
-- Bound: one row.
insert into perdure.demo_receipt (order_id, job) values (%(order_id)s::bigint, %(job)s::bigint)
on conflict (order_id) do nothing
