-- Does: answers an update: accepted, with what its sender is told, or refused, with why; if the run still is the generation that was claimed.
-- Locks: the job row for share, then the message's.
-- Index: job by id; signal by id.
-- Bound: one message.
with fenced as materialized (
    select j.id from perdure.job j where j.id = %(run)s::bigint and j.generation = %(generation)s::int for share
)
update perdure.signal m set answered_at = clock_timestamp(), refusal = %(refusal)s::text, answer = %(answer)s::text::json
from fenced f where m.id = %(id)s::bigint and m.run = f.id and m.answered_at is null
