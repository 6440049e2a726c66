-- Does: of a run that another one would have as its child: its workflow, whether it lives, and whose it is: the other's own, which that has recorded or not, one of a run whose id the other has taken, or somebody else's.
-- Locks: none.
-- Index: run by job; job and dead by id; step by run.
-- Bound: one run; its parent has at most run_steps_max steps.
select r.name, j.id is not null and d.id is null as lives,
       case when r.parent = %(parent)s::bigint and s.run is not null then 'recorded'
            when r.parent = %(parent)s::bigint then 'own'
            when p.id = m.id then 'replaced'
            else 'other' end as kin
from perdure.run r
cross join lateral (select x.id from perdure.run x where x.job = %(parent)s::bigint limit 1) m
left join lateral (select x.id from perdure.run x where x.job = r.parent limit 1) p on true
left join lateral (select x.id from perdure.job x where x.id = r.job limit 1) j on true
left join lateral (select x.id from perdure.dead x where x.id = r.job limit 1) d on true
left join lateral (select x.run from perdure.step x
                   where x.run = %(parent)s::bigint and x.kind = 'child' and split_part(x.detail, ' ', 1) = r.job::text limit 1) s on true
where r.job = %(run)s::bigint
