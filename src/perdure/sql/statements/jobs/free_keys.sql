-- Does: says who holds each of these unique keys, and frees those that nobody needs any more: expired, or their job has started, is done, or is gone.
-- Locks: the keys that are freed, in ascending order; a key that somebody else is freeing is waited for.
-- Index: unique_key (key, scope); each holder by its id, wherever it stands.
-- Bound: the keys given. A key that isn't returned has been freed by somebody else.
with held as materialized (
    select a.place as asked, u.scope, u.key, u.id, v.place,
           coalesce(u.payload = hashtextextended(a.payload::jsonb::text, 0), v.payload::jsonb::text = a.payload::jsonb::text) as same,
           case u.until when 'started' then coalesce(v.place not in ('ready', 'scheduled', 'held'), true)
                        when 'done' then coalesce(v.place = 'history', true) and coalesce(u.expires_at <= clock_timestamp(), true)
                        else u.expires_at <= clock_timestamp() end as free
    from unnest(%(scopes)s::text[], %(uniques)s::text[], %(payloads)s::text[]) with ordinality as a(scope, key, payload, place)
    join perdure.unique_key u on u.key = a.key and u.scope = a.scope
    left join lateral (select j.place, j.payload from perdure.jobs j where j.id = u.id limit 1) v on true
), mine as materialized (
    select u.key, u.scope from perdure.unique_key u
    join (select distinct h.key, h.scope, h.id from held h where free) f on f.key = u.key and f.scope = u.scope and f.id = u.id
    order by u.key, u.scope for update of u
), freed as (
    delete from perdure.unique_key u using mine m where u.key = m.key and u.scope = m.scope
)
select asked::int, id, coalesce(place, 'gone') as place, same, free from held
