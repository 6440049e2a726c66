-- Does: writes orders as paid.
-- Locks: the new rows.
-- Index: the primary key.
-- Bound: the orders given.
insert into perdure.demo_order (id, amount, paid_at)
select o.id, o.cents / 100.0, now() from unnest(%(ids)s::bigint[], %(cents)s::int[]) as o (id, cents)
