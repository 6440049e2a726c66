-- Does: what became of an update: whether it was answered, and how; and whether its run has ended.
-- Locks: none.
-- Index: signal and job by id.
-- Bound: one row.
select m.answered_at is not null as answered, m.refusal, m.answer::text as answer,
       not exists (select from perdure.job j where j.id = m.run) or exists (select from perdure.dead d where d.id = m.run) as ended
from perdure.signal m where m.id = %(id)s::bigint
