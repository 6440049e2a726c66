-- Does: counts what one order has left: as an order, and as jobs about it.
-- Locks: none.
-- Index: the order's primary key; the jobs of a demonstration are read through.
-- Bound: the rows of a demonstration.
select (select count(*) from perdure.demo_order where id = %(order_id)s::bigint) as orders,
       (select count(*) from perdure.jobs where key = 'order:' || %(order_id)s::bigint) as jobs
