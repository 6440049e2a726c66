-- Does: says who holds each of these unique keys, and frees those that nobody needs any more: expired, or their job has started, is done, or is gone.
-- Locks: the keys that are freed, in ascending order; a key that somebody else is freeing is waited for.
-- Index: unique_key (key, scope) or by id, both are named so that whichever is taken is narrowed; each holder by its id, wherever it stands.
-- Bound: the keys given. A key that isn't returned has been freed by somebody else.
with held as materialized (
    select a.place as asked, u.scope, u.key, u.id, v.place,
           coalesce(u.payload = hashtextextended(a.payload::jsonb::text, 0), v.payload::jsonb::text = a.payload::jsonb::text) as same,
           case u.until when 'started' then coalesce(v.place not in ('ready', 'scheduled', 'held'), true)
                        when 'done' then coalesce(v.place = 'history', true) and coalesce(u.expires_at <= clock_timestamp(), true)
                        else u.expires_at <= clock_timestamp() end as free
    from unnest(%(scopes)s::text[], %(uniques)s::text[], %(payloads)s::text[]) with ordinality as a(scope, key, payload, place)
    cross join lateral (select x.* from perdure.unique_key x where x.key = a.key and x.scope = a.scope limit 1) u
    left join lateral (
        -- As in the view perdure.jobs, whose joins a worker's session would hash.
        (select case when exists (select from perdure.ready y where y.lane = j.lane and y.pos = j.pos offset 0) then 'ready'
                     when exists (select from perdure.scheduled s where s.run_at = j.run_at and s.id = j.id offset 0) then 'scheduled'
                     when exists (select from perdure.held h where h.id = j.id offset 0) then 'held'
                     when exists (select from perdure.waiting w where w.id = j.id offset 0) then 'waiting'
                     when exists (select from perdure.dead d where d.id = j.id offset 0) then 'dead'
                     else 'leased' end as place, j.payload
         from perdure.job j where j.id = u.id)
        union all
        (select 'history', f.payload from perdure.history f where f.id = u.id limit 1)
        limit 1
    ) v on true
), mine as materialized (
    select u.key, u.scope, u.id from perdure.unique_key u
    join (select distinct h.key, h.scope, h.id from held h where free) f on f.key = u.key and f.scope = u.scope and f.id = u.id
    where u.key = any(array(select key from held where free)) and u.id = any(array(select id from held where free))
    order by u.key, u.scope for update of u
), freed as (
    delete from perdure.unique_key u using mine m
    where u.key = m.key and u.scope = m.scope
      and u.key = any(array(select key from mine)) and u.id = any(array(select id from mine))
)
select asked::int, id, coalesce(place, 'gone') as place, same, free from held
