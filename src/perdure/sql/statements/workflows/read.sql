-- Does: runs as they are replayed: what they are, what they have recorded, what is in their inbox, how the children they wait for stand. A worker that drives them further forgets their nudges in the same statement.
-- Locks: none.
-- Index: run by job; step by run and name; signal_run; cancel_request by id; job, dead and history by id of children.
-- Bound: the runs given; each has at most run_steps_max steps.
select r.job, r.id, r.round, extract(epoch from clock_timestamp() + r.skew)::float8 as now, extract(epoch from r.skew)::float8 as skew,
       extract(epoch from r.created_at)::float8 as created_at, r.attributes::text as attributes,
       extract(epoch from r.deadline_at)::float8 as deadline_at, r.paused_at is not null as paused,
       (select coalesce(c.reason, '') from perdure.cancel_request c where c.id = r.job) as cancel,
       (select '[' || string_agg(json_build_array(
            s.name, s.seq, s.kind, s.state, s.attempt, extract(epoch from s.started_at)::float8, extract(epoch from s.ended_at)::float8,
            extract(epoch from s.due_at)::float8, coalesce(s.due_at <= clock_timestamp() + r.skew, false), s.detail, s.outcome)::text,
            ',' order by s.seq) || ']'
        from perdure.step s where s.run = r.job) as steps,
       (select '[' || string_agg(json_build_array(
            m.id, m.name, m.payload, m.update, m.answered_at is not null or not m.update)::text, ',' order by m.id) || ']'
        from perdure.signal m where m.run = r.job and m.taken is null and m.refusal is null) as messages,
       (select '[' || string_agg(json_build_array(
            s.detail::bigint, case when d.id is not null then 'failed' when j.id is not null then null
                                   else coalesce(h.outcome, c.told ->> 0, 'forgotten') end,
            coalesce(h.result, c.told -> 1), coalesce(d.error, h.error, c.told ->> 2))::text, ',') || ']'
        from perdure.step s
        left join lateral (select x.told from perdure.run x where x.job = s.detail::bigint limit 1) c on true
        left join lateral (select x.id from perdure.job x where x.id = s.detail::bigint limit 1) j on true
        left join lateral (select x.id, x.error from perdure.dead x where x.id = s.detail::bigint limit 1) d on true
        left join lateral (select x.outcome, x.result, x.error from perdure.history x where x.id = s.detail::bigint
                           order by x.finished_at desc limit 1) h on true
        where s.run = r.job and s.kind = 'child' and s.state = 'waiting') as children
from perdure.run r where r.job = any(%(runs)s::bigint[])
