-- Does: which of the named queues take jobs for a tenant only.
-- Locks: none.
-- Index: queue by name; queue_rule by queue.
-- Bound: the names given.
select q.name from perdure.queue q join perdure.queue_rule r on r.queue = q.id
where q.name = any(%(names)s::text[]) and r.tenant_required
