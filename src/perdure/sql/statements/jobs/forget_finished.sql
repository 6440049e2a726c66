-- Does: looks through one day of history, or some of it, for finished jobs of a queue that keeps them for less long than history does, and deletes them; notes how far it has come.
-- Locks: the queue's rule, skipping a locked one; the rows of history, which nobody else writes.
-- Index: queue_rule by queue; history by id, in the partition of that day.
-- Bound: `limit` rows looked at. It returns as many while there may be more to look at.
with rule as materialized (
    select r.queue, d.day, coalesce(case when r.forgotten_day = d.day then r.forgotten_id end, 0) as after,
           d.day + 1 < d.today - r.retention_days as more
    from perdure.queue_rule r
    cross join lateral (
        select t.today, greatest(coalesce(r.forgotten_day, t.today - %(history_days)s::int), t.today - %(history_days)s::int) as day
        from (select (clock_timestamp() at time zone 'UTC')::date as today) t
    ) d
    where r.retention_days is not null and d.day < d.today - r.retention_days
    order by r.queue limit 1 for update of r skip locked
), page as materialized (
    select f.id, f.lane from rule cross join lateral (
        select h.id, h.lane from perdure.history h
        where h.finished_at >= rule.day at time zone 'UTC' and h.finished_at < (rule.day + 1) at time zone 'UTC'
          and h.id > rule.after
        order by h.id limit %(limit)s::int
    ) f
), gone as (
    delete from perdure.history h using page p, rule
    where h.id = p.id and h.id = any(array(select id from page)) and p.lane / 4096 = rule.queue
      and h.finished_at >= rule.day at time zone 'UTC' and h.finished_at < (rule.day + 1) at time zone 'UTC'
    returning h.id
), looked as materialized (
    select count(*) as n, max(id) as last from page
), noted as (
    update perdure.queue_rule r
    set forgotten_day = case when l.n < %(limit)s::int then rule.day + 1 else rule.day end,
        forgotten_id = case when l.n < %(limit)s::int then null else l.last end
    from rule, looked l where r.queue = rule.queue
)
select coalesce((select case when l.n >= %(limit)s::int or rule.more then %(limit)s::int else l.n end from rule, looked l), 0)::int as looked,
       (select count(*) from gone)::int as forgotten
