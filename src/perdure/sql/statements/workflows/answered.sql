-- Does: what became of an update: whether it was answered, and how; and whether its run has ended or is paused.
-- Locks: none.
-- Index: signal and job by id; run by job.
-- Bound: one row.
select m.answered_at is not null as answered, m.refusal, m.answer::text as answer,
       not exists (select from perdure.job j where j.id = m.run offset 0) or exists (select from perdure.dead d where d.id = m.run offset 0) as ended,
       exists (select from perdure.run r where r.job = m.run and r.paused_at is not null offset 0) as paused
from perdure.signal m where m.id = %(id)s::bigint
