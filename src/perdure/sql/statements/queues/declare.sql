-- Does: writes what is declared of one queue, which has a row, and whether enqueues must ask; says what was declared before, and whether that changed.
-- Locks: the rule's row, and the queue's when it becomes guarded or ceases to be.
-- Index: queue by name; queue_rule by queue.
-- Bound: one row.
with said as materialized (
    select q.id as queue, %(unlimited)s::boolean as unlimited, %(max_depth)s::int as max_depth, %(max_age)s::float8 as max_age,
           %(when_full)s::text as when_full, %(deadline)s::float8 as deadline, %(retention_days)s::int as retention_days,
           %(tenant_required)s::boolean as tenant_required
    from perdure.queue q where q.name = %(name)s::text
), before as materialized (
    select r.* from perdure.queue_rule r join said s on s.queue = r.queue
), written as (
    insert into perdure.queue_rule as r (queue, unlimited, max_depth, max_age, when_full, deadline, retention_days,
                                         tenant_required, declared_by)
    select s.*, %(declared_by)s::text from said s
    on conflict (queue) do update set
        unlimited = excluded.unlimited, max_depth = excluded.max_depth, max_age = excluded.max_age,
        when_full = excluded.when_full, deadline = excluded.deadline, retention_days = excluded.retention_days,
        tenant_required = excluded.tenant_required, declared_by = excluded.declared_by, declared_at = now()
    where (r.unlimited, r.max_depth, r.max_age, r.when_full, r.deadline, r.retention_days, r.tenant_required)
          is distinct from (excluded.unlimited, excluded.max_depth, excluded.max_age, excluded.when_full, excluded.deadline,
                            excluded.retention_days, excluded.tenant_required)
    returning r.queue
), guarded as (
    update perdure.queue q set guarded = not q.guarded
    from said s where q.id = s.queue and q.guarded <> (s.when_full is not null or s.tenant_required)
)
select exists (select from written) as changed, b.declared_by as before_by, b.unlimited, b.max_depth, b.max_age, b.when_full,
       b.deadline, b.retention_days, b.tenant_required
from said s left join before b on true
