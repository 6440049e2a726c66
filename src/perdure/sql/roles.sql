-- Three roles for Perdure: whoever enqueues, whoever works, whoever only looks. None of them may change the schema.
-- Run it as the owner of the schema, once and after each migration; it may be run again. The first time it makes the three
-- roles, for which the owner needs CREATEROLE; or somebody who has it runs the block below before. A database user becomes one of
-- them by GRANT: GRANT perdure_worker TO shop_worker. Whoever migrates stays the owner, and needs none of them.

do $$ begin
    if to_regrole('perdure_producer') is null then create role perdure_producer nologin; end if;
    if to_regrole('perdure_worker') is null then create role perdure_worker nologin; end if;
    if to_regrole('perdure_support') is null then create role perdure_support nologin; end if;
end $$;

grant usage on schema perdure to perdure_producer, perdure_worker, perdure_support;

-- Producers enqueue, start workflows, and look up what became of it. They can't claim, cancel, signal, or change what is there:
-- so they can't replace a job, nor have others shed for theirs, and are told so (42501). Of a unique key that nobody needs any more
-- they free the row, and of a bounded queue they may have to count what stands in it.
grant select, insert on perdure.job, perdure.ready, perdure.scheduled, perdure.queue, perdure.follow_up, perdure.run to perdure_producer;
grant select, insert, update, delete on perdure.unique_key, perdure.queue_sample to perdure_producer;
grant select on perdure.jobs, perdure.held, perdure.waiting, perdure.dead, perdure.history, perdure.step, perdure.queue_rule, perdure.migration
    to perdure_producer;
grant select (id, state, expires_at, queues, gauges, workflows) on perdure.worker to perdure_producer;
grant usage on sequence perdure.pos to perdure_producer;

-- Workers, and applications that cancel, retry and redrive, do everything but change the schema. The days of history are made
-- and dropped for them by functions of the owner's.
grant select, insert, update, delete on all tables in schema perdure to perdure_worker;
grant usage, select on all sequences in schema perdure to perdure_worker;
grant execute on function perdure.make_days(int, text[]), perdure.drop_days(int, text[]), perdure.drop_parts(text, int, int)
    to perdure_worker;
revoke insert, update, delete on perdure.migration from perdure_worker;

-- Support reads everything, payloads and errors too, and writes nothing.
grant select on all tables in schema perdure to perdure_support;

alter default privileges in schema perdure grant select, insert, update, delete on tables to perdure_worker;
alter default privileges in schema perdure grant select on tables to perdure_support;
