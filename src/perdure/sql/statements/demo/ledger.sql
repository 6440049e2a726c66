-- Does: what was paid, promised, done and repeated, counted from the rows themselves.
-- Locks: none.
-- Index: none; it reads the tables of a demonstration through.
-- Bound: the rows of a demonstration.
select (select count(*) from perdure.demo_order) as orders,
       (select count(*) from perdure.job) + (select count(distinct id) from perdure.history) as jobs,
       (select count(*) from perdure.job) as unfinished,
       (select count(*) from perdure.history where outcome = 'completed') as completions,
       (select count(distinct id) from perdure.history where outcome = 'completed') as completed,
       (select count(*) from perdure.jobs j where not exists (
           select from perdure.demo_order o where j.key = 'order:' || o.id)) as unpaid,
       (select count(*) from perdure.demo_receipt) as receipts,
       (select count(*) from perdure.demo_order o where exists (
           select from perdure.demo_receipt r where r.order_id = o.id)) as served,
       (select count(*) from perdure.demo_run) as runs,
       (select coalesce(sum(attempt), 0) from perdure.history)::bigint as attempts,
       (select coalesce(sum(rescues), 0) from perdure.history)::bigint as rescues
