-- The sum of the migrations, written by tools/dump_schema.py and compared with them by a test. Nothing runs this file.

CREATE SCHEMA perdure;

CREATE FUNCTION perdure.admit(queue integer, wanted integer, OUT max_depth integer, OUT max_age double precision, OUT when_full text, OUT deadline double precision, OUT tenant_required boolean, OUT depth bigint, OUT age double precision, OUT space bigint, OUT room bigint, OUT retry_after double precision) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_variable
declare
    last_seen perdure.queue_sample;
    arrived bigint; most bigint; lined boolean; known boolean; surplus float8;
begin
    select r.max_depth, r.max_age, r.when_full, r.deadline, r.tenant_required
    into max_depth, max_age, when_full, deadline, tenant_required
    from perdure.queue_rule r where r.queue = admit.queue;
    if when_full is null then
        return;
    end if;
    most := greatest(coalesce(max_depth, 0), 1000) + 1;
    for turn in 1 .. 2 loop
        select * into last_seen from perdure.queue_sample x where x.queue = admit.queue order by x.at desc limit 1;
        known := last_seen.at is not null;
        arrived := (select count(*) from (
            select from generate_series(queue * 4096, queue * 4096 + 9) as l(lane)
            cross join lateral (select from perdure.ready r
                                where r.lane = l.lane and r.pos > coalesce(last_seen.pos, 0) limit most) p limit most) c);
        lined := exists (select from perdure.scheduled s where s.run_at = perdure.line(queue));
        age := null;
        if exists (select from perdure.ready r where r.lane = last_seen.oldest_lane and r.pos = last_seen.oldest_pos) then
            age := extract(epoch from clock_timestamp() - last_seen.oldest_at);
        elsif max_age is not null and (last_seen.oldest_pos is not null or arrived > 0) then
            known := false;
        end if;
        depth := coalesce(last_seen.ready, 0) + arrived;
        space := case when age > max_age then 0 when max_depth is not null then greatest(max_depth - depth, 0) end;
        room := case when lined then 0 else space end;
        depth := depth + case when lined then greatest(last_seen.line, 1) else 0 end;
        exit when turn = 2;
        exit when known and arrived <= greatest(50, sqrt(last_seen.ready)) and (room is null or room >= wanted);
        exit when last_seen.at > clock_timestamp() - greatest(0.05, 20 * last_seen.took) * interval '1 second';
        exit when not perdure.sample(queue);
    end loop;
    -- The time in which a tenth of the bound drains, or what is too old: long enough to be worth coming back after.
    surplus := greatest(wanted, max_depth / 10.0, depth - max_depth, case when age > max_age then depth * (1 - max_age / age) end);
    retry_after := case when last_seen.ended_per_second > 0 then least(greatest(surplus / last_seen.ended_per_second, 1), 300) else 300 end;
end $$;

CREATE FUNCTION perdure.cancel_v1(id bigint, reason text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    body perdure.job; seated boolean := false;
begin
    lock table perdure.ready in row exclusive mode;
    if reason is not null then
        perform perdure.check_text('reason', reason, 500);
    end if;
    select * into body from perdure.job j where j.id = cancel_v1.id;
    if not found then
        return case when exists (select from perdure.history h where h.id = cancel_v1.id) then 'finished' else 'missing' end;
    end if;
    if exists (select from perdure.dead d where d.id = body.id) then
        return 'dead';
    end if;
    perform from perdure.run r where r.job = body.id for key share;
    if found then
        -- A run hears of it wherever it stands: it may have something to undo.
        insert into perdure.cancel_request (id, reason) values (body.id, cancel_v1.reason) on conflict (id) do nothing;
        insert into perdure.nudge (id) values (body.id);
        perform pg_notify('perdure', 'cancel');
        return 'requested';
    end if;
    -- As in jobs.cancel: whoever holds the row of its place is taking the job out of it, and hears of the request.
    delete from perdure.ready r using (
        select y.lane, y.pos from perdure.ready y where y.lane = body.lane and y.pos = body.pos for update skip locked) l
    where r.lane = l.lane and r.pos = l.pos;
    seated := found;
    delete from perdure.scheduled s using (
        select y.run_at, y.id from perdure.scheduled y where y.run_at = body.run_at and y.id = body.id for update skip locked) l
    where s.run_at = l.run_at and s.id = l.id;
    seated := seated or found;
    delete from perdure.held h using (
        select y.id from perdure.held y where y.id = body.id for update skip locked) l
    where h.id = l.id;
    seated := seated or found;
    if not seated then
        insert into perdure.cancel_request (id, reason) values (body.id, cancel_v1.reason) on conflict (id) do nothing;
        perform pg_notify('perdure', 'cancel');
        return 'requested';
    end if;
    delete from perdure.job j where j.id = body.id returning * into body;
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, context, error, payload)
    values (body.id, body.created_at, statement_timestamp(), body.lane, body.generation, body.attempt, body.rescues,
            'cancelled', body.task, body.key, body.tags, body.options, body.context, cancel_v1.reason, body.payload);
    delete from perdure.cancel_request c where c.id = body.id;
    delete from perdure.unique_key u using (
        select y.key, y.scope from perdure.unique_key y where y.id = body.id and y.expires_at is null for update skip locked) l
    where u.key = l.key and u.scope = l.scope;
    return 'cancelled';
end $$;

CREATE FUNCTION perdure.check_context(context json) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $_$
declare
    word record;
begin
    if context is null then
        return;
    elsif json_typeof(context) <> 'object' then
        perform perdure.refuse('PD001', 'context', 'is no JSON object', 'give its words by name');
    elsif octet_length(context::text) > 1024 then
        perform perdure.refuse('PD001', 'context', format('has %s bytes', octet_length(context::text)), 'give at most 1024: ids, not data');
    end if;
    for word in select key, value #>> '{}' as said, json_typeof(value) as kind from json_each(context) where key <> 'v' loop
        if word.key not in ('correlation_id', 'causation_id', 'traceparent', 'tenant', 'actor', 'origin', 'replayed_by') then
            perform perdure.refuse('PD001', 'context.' || word.key, 'isn''t a word of a context',
                                   'use correlation_id, causation_id, traceparent, tenant, actor, origin, replayed_by');
        elsif word.kind = 'null' then
            continue;
        elsif word.kind <> 'string' then
            perform perdure.refuse('PD001', 'context.' || word.key, 'is no text', 'give a text');
        end if;
        perform perdure.check_text('context.' || word.key, word.said, 255);
        if word.said ~* '^((bearer|basic)\s|eyj[a-z0-9_-]+\.[a-z0-9_-]+\.|(sk|pk|rk)_(live|test)_|gh[pousr]_\w{20}|github_pat_|glpat-|xox[abepr]-|akia[a-z0-9]{12}|aiza[a-z0-9_-]{20}|sk-[a-z0-9_-]{16}|hf_\w{16}|sg\.[a-z0-9_-]{16}|whsec_|(session_?id|sid|token|secret|api_?key|password)[=:]|\w+://[^/\s]*:[^/\s]*@)|-----begin|password=' then
            perform perdure.refuse('PD001', 'context.' || word.key, 'looks like a credential, which a context can''t carry', 'give an id instead');
        elsif word.key = 'traceparent' and word.said !~ '^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$' then
            perform perdure.refuse('PD001', 'context.traceparent', 'is no traceparent of W3C Trace Context',
                                   'give version-trace-parent-flags, in hex');
        end if;
    end loop;
end $_$;

CREATE FUNCTION perdure.check_entity() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if tg_op = 'INSERT' then
        if new.state is distinct from (select m.initial from perdure.machine m where m.name = new.machine) then
            raise exception using errcode = 'PD010', column = 'state',
                message = format('machine %s: %s isn''t where %s begins', new.machine, new.state, new.id),
                hint = 'declare the machine, and create its entities in the initial state';
        end if;
        new.revision := 0;
    elsif new.state is not distinct from old.state and new.revision = old.revision then
        if (new.machine, new.id, new.entered_at, new.stuck_at) is distinct from (old.machine, old.id, old.entered_at, old.stuck_at) then
            raise exception using errcode = 'PD010', message = format('machine %s: %s is changed without a move', old.machine, old.id),
                hint = 'only moves change an entity';
        end if;
        return new;
    elsif (new.machine, new.id) is distinct from (old.machine, old.id) or not exists (
        select from perdure.transition t
        where t.machine = old.machine and t.source = old.state and t.target = new.state and t.event = new.event) then
        raise exception using errcode = 'PD010', column = 'state',
            message = format('machine %s: %s can''t go from %s to %s by %s', old.machine, old.id, old.state, new.state,
                             coalesce(new.event, 'no event')),
            hint = 'move it by a transition that the machine declares';
    else
        new.revision := old.revision + 1;
    end if;
    new.entered_at := clock_timestamp();
    new.stuck_at := (select new.entered_at + s.stuck_after from perdure.machine_state s
                     where s.machine = new.machine and s.state = new.state);
    return new;
end $$;

CREATE FUNCTION perdure.check_json(payload json) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
declare
    brackets text := translate(payload::text, '{}', '[]');
begin
    if octet_length(payload::text) > 1048576 then
        perform perdure.refuse('PD003', 'payload', format('has %s bytes, the limit is 1048576', octet_length(payload::text)),
                               'keep the data in a table or a file, and pass its id');
    elsif payload::text ~ '\\u(0000|[dD][89a-fA-F])' then
        -- json keeps what it can't read back: NUL and half a surrogate pair; jsonb looks.
        begin
            perform payload::jsonb;
        exception when untranslatable_character or invalid_text_representation then
            perform perdure.refuse('PD002', 'payload', 'holds a NUL character or half a surrogate pair', 'remove it');
        end;
    end if;
    if length(brackets) - length(replace(brackets, '[', '')) > 200 then
        brackets := regexp_replace(regexp_replace(brackets, '"(?:\\.|[^"\\])*"', '', 'g'), '[^][]', '', 'g');
        for level in 1 .. 200 loop
            brackets := replace(brackets, '[]', '');
        end loop;
        if brackets <> '' then
            perform perdure.refuse('PD002', 'payload', 'is nested more than 200 levels deep',
                                   'give a flatter value, or keep it in a table and pass its id');
        end if;
    end if;
end $$;

CREATE FUNCTION perdure.check_moment(field text, value timestamp with time zone) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if value < '1970-01-01 00:00:00+00' or value >= '9000-01-01 00:00:00+00' then
        perform perdure.refuse('PD001', field, 'is too far away', 'give a year of 1970 to 8999');
    end if;
end $$;

CREATE FUNCTION perdure.check_name(field text, value text, chars_max integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $_$
begin
    if value is null or value = '' then
        perform perdure.refuse('PD001', field, 'is missing', 'give at least one character');
    elsif char_length(value) > chars_max then
        perform perdure.refuse('PD001', field, format('has %s characters', char_length(value)), format('give at most %s', chars_max));
    elsif value collate "C" !~ '^[A-Za-z0-9_\u0080-\U0010FFFF][A-Za-z0-9_./\u0080-\U0010FFFF-]*$' then
        perform perdure.refuse('PD001', field, format('%L is not allowed', value),
                               'use letters, digits, _ . - and /, beginning with a letter or digit');
    end if;
end $_$;

CREATE FUNCTION perdure.check_payload(payload json) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if payload is null or json_typeof(payload) <> 'object' then
        perform perdure.refuse('PD002', 'payload', 'is no JSON object', 'give the arguments by name: {…}');
    end if;
    perform perdure.check_json(payload);
end $$;

CREATE FUNCTION perdure.check_retry(retry json) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
declare
    option record; seconds text; longest constant float8 := 315360000;
begin
    if json_typeof(retry) <> 'object' then
        perform perdure.refuse('PD001', 'retry', 'is no JSON object', 'give its options by name');
    end if;
    for option in select key, value, json_typeof(value) as kind, value #>> '{}' as said from json_each(retry) loop
        if option.key not in ('max_attempts', 'base', 'cap', 'jitter', 'max_elapsed', 'retry_after_cap', 'delays') then
            perform perdure.refuse('PD001', 'retry.' || option.key, 'no such option',
                                   'use base, cap, delays, jitter, max_attempts, max_elapsed, retry_after_cap');
        elsif option.key = 'jitter' then
            if option.said is null or option.said not in ('full', 'decorrelated', 'none') then
                perform perdure.refuse('PD001', 'retry.jitter', 'is not allowed', 'give full, decorrelated or none');
            end if;
        elsif option.key = 'delays' then
            if option.kind <> 'array' then
                perform perdure.refuse('PD001', 'retry.delays', 'is not allowed', 'give an array of seconds');
            end if;
            for seconds in select d.value #>> '{}' from json_array_elements(option.value) d loop
                perform perdure.check_seconds('retry.delays', seconds::float8, 0, true, longest);
            end loop;
        elsif option.key = 'max_elapsed' and option.kind = 'null' then
            null;
        elsif option.kind <> 'number' then
            perform perdure.refuse('PD001', 'retry.' || option.key, 'is no number', 'give a number');
        elsif option.key = 'max_attempts' then
            if option.said::numeric not between 1 and 10000 or option.said::numeric <> trunc(option.said::numeric) then
                perform perdure.refuse('PD001', 'retry.max_attempts', option.said || ' is not allowed', 'give 1 to 10000');
            end if;
        else
            perform perdure.check_seconds('retry.' || option.key, option.said::float8, 0, option.key = 'retry_after_cap', longest);
        end if;
    end loop;
    if coalesce((retry ->> 'cap')::float8, 300) < coalesce((retry ->> 'base')::float8, 1) then
        perform perdure.refuse('PD001', 'retry.cap', 'is less than base', 'give seconds, at least base');
    end if;
end $$;

CREATE FUNCTION perdure.check_seconds(field text, value double precision, low double precision, closed boolean, high double precision) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if not (value > low or closed and value = low) or value > high then
        perform perdure.refuse('PD001', field, format('%s is not allowed', value),
                               format('give %s %s, at most %s seconds', case when closed then 'at least' else 'more than' end, low, high));
    end if;
end $$;

CREATE FUNCTION perdure.check_task(task text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog'
    AS $_$
begin
    if task !~ '/[0-9]+$' or not has_column_privilege('perdure.worker', 'workflows', 'select') then
        return;
    elsif exists (select from perdure.worker w where check_task.task = any (w.workflows)) then
        perform perdure.refuse('PD001', 'task', task || ' is a workflow, whose runs are started and not enqueued',
                               'start it with client.workflows.start, or enqueue a task that does');
    end if;
end $_$;

CREATE FUNCTION perdure.check_text(field text, value text, chars_max integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if value is null or value = '' then
        perform perdure.refuse('PD001', field, 'is empty', 'give at least one character');
    elsif char_length(value) > chars_max then
        perform perdure.refuse('PD001', field, format('has %s characters', char_length(value)), format('give at most %s', chars_max));
    end if;
end $$;

CREATE FUNCTION perdure.check_unique(key text, scope text, until text, lifetime double precision, on_conflict text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if key is null then
        if on_conflict is not null then
            perform perdure.refuse('PD001', 'on_conflict', 'is given without unique', 'give unique, too, or leave it out');
        elsif lifetime is not null then
            perform perdure.refuse('PD001', 'unique.lifetime', 'is given without a key', 'give unique_key, too, or leave it out');
        elsif scope is distinct from 'task' then
            perform perdure.refuse('PD001', 'unique.scope', 'is given without a key', 'give unique_key, too, or leave it out');
        elsif until is distinct from 'done' then
            perform perdure.refuse('PD001', 'unique.until', 'is given without a key', 'give unique_key, too, or leave it out');
        end if;
        return;
    end if;
    perform perdure.check_text('unique.key', key, 255);
    if scope is null or scope not in ('task', 'queue', 'everywhere') then
        perform perdure.refuse('PD001', 'unique.scope', format('%L is not allowed', scope), 'give one of task, queue, everywhere');
    elsif until is null or until not in ('started', 'done', 'expired') then
        perform perdure.refuse('PD001', 'unique.until', format('%L is not allowed', until), 'give one of started, done, expired');
    elsif on_conflict not in ('skip', 'replace', 'raise') then
        perform perdure.refuse('PD001', 'on_conflict', format('%L is not allowed', on_conflict), 'give one of skip, replace, raise');
    elsif on_conflict = 'replace' and scope <> 'task' then
        perform perdure.refuse('PD001', 'on_conflict', '"replace" would put these arguments into a job of another task',
                               'say scope task, or skip or raise');
    elsif until = 'expired' and lifetime is null then
        perform perdure.refuse('PD001', 'unique.until', 'is "expired" without a lifetime', 'give a lifetime, too');
    elsif until = 'started' and lifetime is not null then
        perform perdure.refuse('PD001', 'unique.lifetime', 'is given together with until started, which frees the key sooner',
                               'leave it out, or say until done or expired');
    end if;
    perform perdure.check_seconds('unique.lifetime', lifetime, 0, false, 315360000);
end $$;

CREATE FUNCTION perdure.drop_days(days integer, parents text[] DEFAULT '{history,attempt}'::text[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $_$
declare
    parent text; part text; dropped int := 0;
begin
    foreach parent in array parents loop
        for part in
            select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = to_regclass(format('perdure.%I', parent)) and c.relname ~ ('^' || parent || '_[0-9]{8}$')
              and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= current_date - days
        loop
            execute format('alter table perdure.%I detach partition perdure.%I', parent, part);
            execute format('drop table perdure.%I', part);
            dropped := dropped + 1;
        end loop;
    end loop;
    if 'history' = any(parents) then
        delete from perdure.history_default where finished_at < current_date - days;
    end if;
    if 'attempt' = any(parents) then
        delete from perdure.attempt_default where ended_at < current_date - days;
    end if;
    return dropped;
end $_$;

CREATE FUNCTION perdure.drop_moves() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    delete from perdure.entity_move v where v.machine = old.machine and v.id = old.id;
    return null;
end $$;

CREATE FUNCTION perdure.drop_parts(parent text, days integer, parts_max integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $_$
declare
    part text; dropped int := 0;
begin
    for part in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass(format('perdure.%I', parent)) and c.relname ~ ('^' || parent || '_[0-9]{8}$')
          and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= current_date - days
        order by c.relname limit parts_max
    loop
        execute format('alter table perdure.%I detach partition perdure.%I', parent, part);
        execute format('drop table perdure.%I', part);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $_$;

CREATE FUNCTION perdure.enqueue_free(lane integer, task text, payloads text, tenant_key text, tags text[], options json, context json, expires_at timestamp with time zone, scope text, keys text, until text, lifetime double precision) RETURNS bigint[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    ids bigint[];
begin
    with arriving as materialized (
        select nextval('perdure.pos') as id, t.payload, t.held
        from rows from (string_to_table(payloads, chr(31)), string_to_table(keys, chr(31))) as t(payload, held)
    ), bodies as (
        insert into perdure.job (id, pos, created_at, expires_at, lane, task, key, tags, options, context, payload)
        select a.id, a.id, statement_timestamp(), enqueue_free.expires_at, enqueue_free.lane, enqueue_free.task, tenant_key,
               enqueue_free.tags, enqueue_free.options, enqueue_free.context, a.payload::json
        from arriving a
    ), arrivals as (
        insert into perdure.ready (lane, pos, id) select enqueue_free.lane, a.id, a.id from arriving a
    ), taken as (
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        select enqueue_free.scope, a.held, a.id, enqueue_free.until, clock_timestamp() + lifetime * interval '1 second',
               case when lifetime is not null then hashtextextended(a.payload::jsonb::text, 0) end
        from arriving a order by a.held collate "C", a.id
    )
    select array_agg(a.id) into ids from arriving a;
    return ids;
exception when unique_violation then
    return null;
end $$;

CREATE FUNCTION perdure.enqueue_v1(task text, payload json DEFAULT '{}'::json, queue text DEFAULT 'default'::text, key text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_in interval DEFAULT NULL::interval, timeout double precision DEFAULT NULL::double precision, retry json DEFAULT NULL::json, tags text[] DEFAULT NULL::text[], at_most_once boolean DEFAULT NULL::boolean, wake boolean DEFAULT true, context json DEFAULT NULL::json, version integer DEFAULT NULL::integer, unique_key text DEFAULT NULL::text, unique_scope text DEFAULT 'task'::text, unique_until text DEFAULT 'done'::text, unique_lifetime interval DEFAULT NULL::interval, on_conflict text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_variable
declare
    longest constant float8 := 315360000;
    waits float8 := extract(epoch from delay);
    lasts float8 := extract(epoch from expires_in);
    holds float8 := extract(epoch from unique_lifetime);
    tag text; said json; kept json; lane_queue int; due timestamptz; wanted timestamptz; made bigint; holder bigint; spot int;
begin
    lock table perdure.ready, perdure.scheduled in row exclusive mode;
    perform perdure.check_name('task', task, 200);
    perform perdure.check_task(task);
    perform perdure.check_payload(payload);
    perform perdure.check_name('queue', queue, 100);
    if key is not null then
        perform perdure.check_text('key', key, 255);
    end if;
    if priority not between 0 and 9 then
        perform perdure.refuse('PD001', 'priority', priority || ' is not allowed', 'give 0 (first) to 9 (last)');
    end if;
    perform perdure.check_moment('run_at', run_at);
    perform perdure.check_moment('expires', expires_at);
    perform perdure.check_seconds('delay', waits, 0, true, longest);
    if delay is not null and run_at is not null then
        perform perdure.refuse('PD001', 'delay', 'is given together with run_at', 'give one, and null for the other');
    end if;
    perform perdure.check_seconds('expires', lasts, 0, false, longest);
    if expires_at is not null and expires_in is not null then
        perform perdure.refuse('PD001', 'expires', 'is given twice', 'give expires_at or expires_in');
    elsif expires_at <= run_at or lasts <= waits then
        perform perdure.refuse('PD001', 'expires', 'comes before the job is due', 'let the job expire after it is due');
    end if;
    perform perdure.check_seconds('timeout', timeout, 0, false, 604800);
    if retry is not null then
        perform perdure.check_retry(retry);
    end if;
    if cardinality(tags) > 16 then
        perform perdure.refuse('PD001', 'tags', format('has %s tags', cardinality(tags)), 'give at most 16');
    end if;
    foreach tag in array coalesce(tags, '{}') loop
        perform perdure.check_text('tags', tag, 64);
    end loop;
    tags := (select array_agg(t.tag order by t.first)
             from (select u.tag, min(u.place) as first from unnest(tags) with ordinality as u(tag, place) group by u.tag) t);
    perform perdure.check_context(context);
    kept := (select json_object_agg(c.key, c.value) from json_each(context) c
             where json_typeof(c.value) <> 'null' and c.key <> 'v');
    if version not between 1 and 30000 then
        perform perdure.refuse('PD001', 'version', version || ' is not allowed', 'give 1 to 30000');
    end if;
    perform perdure.check_unique(unique_key, unique_scope, unique_until, holds, on_conflict);
    -- An empty policy is kept: it says the default one, whatever the task declares.
    said := json_strip_nulls(json_build_object('timeout', timeout, 'retry', retry, 'at_most_once', at_most_once,
                                                'version', nullif(version, 1),
                                                'unique', case when unique_key is not null and holds is null then true end));

    lane_queue := (select q.id from perdure.queue q where q.name = queue);
    if lane_queue is null then
        insert into perdure.queue (name) values (queue) on conflict (name) do nothing;
        lane_queue := (select q.id from perdure.queue q where q.name = queue);
        if lane_queue is null then
            perform perdure.refuse('PD001', 'queue', 'could not be created', 'create it before this transaction');
        end if;
    end if;
    due := coalesce(run_at, clock_timestamp() + waits * interval '1 second');
    if due <= clock_timestamp() then
        due := null;
    end if;
    spot := lane_queue * 4096 + coalesce(priority, 5);
    made := nextval('perdure.pos');
    if unique_key is not null then
        holder := perdure.take_key(case unique_scope when 'task' then 'task:' || task when 'queue' then 'queue:' || queue
                                   else 'everywhere' end, unique_key, made, unique_until, holds, payload);
        if holder is not null and on_conflict = 'raise' then
            perform perdure.refuse('PD004', 'unique', format('%L is taken by job %s', unique_key, holder),
                                   'wait until it is done, or say what else to do: on_conflict');
        elsif holder is not null and on_conflict is distinct from 'replace' then
            return holder;
        elsif holder is not null and not has_table_privilege('perdure.ready', 'delete') then
            perform perdure.refuse('42501', 'on_conflict', format('replace takes job %s out of its place, and this database user may only add jobs', holder),
                                   'enqueue as a user that is granted perdure_worker, or say skip or raise');
        elsif holder is not null and not perdure.unseat(holder) then
            return holder;
        end if;
    end if;
    if (select q.guarded from perdure.queue q where q.id = lane_queue) then
        wanted := due;
        due := perdure.take_in(lane_queue, queue, coalesce(priority, 5), wanted, kept ->> 'tenant');
        if wanted is null and due < perdure.line(0) then
            said := (said::jsonb || '{"put_off": true}')::json;
        end if;
    end if;
    if holder is null then
        insert into perdure.job (id, pos, created_at, run_at, expires_at, lane, task, key, tags, options, context, payload)
        values (made, made, statement_timestamp(), due, coalesce(expires_at, clock_timestamp() + lasts * interval '1 second'),
                spot, task, key, tags, nullif(said::text, '{}')::json, (jsonb '{"v": 1}' || kept::jsonb)::json, payload);
    else
        update perdure.job j
        set pos = made, run_at = due, expires_at = coalesce(enqueue_v1.expires_at, clock_timestamp() + lasts * interval '1 second'),
            lane = spot, attempt = 0, rescues = 0, key = enqueue_v1.key, tags = enqueue_v1.tags,
            options = nullif(said::text, '{}')::json, context = (jsonb '{"v": 1}' || kept::jsonb)::json,
            payload = enqueue_v1.payload
        where j.id = holder;
        update perdure.unique_key u
        set payload = hashtextextended(enqueue_v1.payload::jsonb::text, 0), until = unique_until,
            expires_at = clock_timestamp() + holds * interval '1 second'
        where u.id = holder;
    end if;
    if due is null then
        insert into perdure.ready (lane, pos, id) values (spot, made, coalesce(holder, made));
    else
        insert into perdure.scheduled (run_at, id) values (due, coalesce(holder, made));
    end if;
    if wake and coalesce(due < clock_timestamp() + interval '2 seconds', true) then
        perform perdure.wake(lane_queue);
    end if;
    return coalesce(holder, made);
end $$;

CREATE FUNCTION perdure.keep_entity() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if exists (select from perdure.transition t where t.machine = old.machine and t.source = old.state) then
        raise exception using errcode = 'PD010', column = 'state',
            message = format('machine %s: %s stands in %s, which isn''t final, and can''t be deleted', old.machine, old.id, old.state),
            hint = 'move it to a final state first';
    end if;
    return old;
end $$;

CREATE FUNCTION perdure.keep_moves() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if tg_op = 'UPDATE' or exists (select from perdure.entity e where e.machine = old.machine and e.id = old.id) then
        raise exception using errcode = 'PD010',
            message = format('machine %s: the history of %s isn''t changed', old.machine, old.id),
            hint = 'only moves write it; it goes when its entity is deleted';
    end if;
    return old;
end $$;

CREATE FUNCTION perdure.line(queue integer) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    select pg_catalog.to_timestamp(221845392000 operator(pg_catalog.+) queue)
$$;

CREATE FUNCTION perdure.log_entity() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if tg_op = 'INSERT' or new.revision <> old.revision then
        insert into perdure.entity_move (machine, id, revision, event, source, target, moved_at, moved_by, reason, context)
        values (new.machine, new.id, new.revision, new.event, case when tg_op = 'UPDATE' then old.state end, new.state,
                new.entered_at, new.moved_by, new.reason, new.context);
    end if;
    return null;
end $$;

CREATE FUNCTION perdure.make_days(ahead integer, parents text[] DEFAULT '{history,attempt}'::text[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $$
declare
    parent text; day date; part text; stamp text; spoiled boolean; made int := 0;
begin
    foreach parent in array parents loop
        stamp := case parent when 'history' then 'finished_at' else 'ended_at' end;
        for day in select d::date from generate_series(current_date, current_date + ahead, interval '1 day') d loop
            part := parent || to_char(day, '_YYYYMMDD');
            continue when to_regclass(format('perdure.%I', part)) is not null;
            execute format('select exists (select from perdure.%I where %I >= %L and %I < %L)',
                           parent || '_default', stamp, day, stamp, day + 1) into spoiled;
            continue when spoiled;
            execute format('create table perdure.%I partition of perdure.%I for values from (%L) to (%L)',
                           part, parent, day, day + 1);
            made := made + 1;
        end loop;
    end loop;
    return made;
end $$;

CREATE FUNCTION perdure.refuse(state text, field text, problem text, fix text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    raise exception using errcode = state, message = field || ': ' || problem, hint = fix, column = field;
end $$;

CREATE FUNCTION perdure.sample(queue integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_variable
declare
    began constant timestamptz := clock_timestamp();
    most bigint := coalesce((select r.max_depth::bigint * 2 from perdure.queue_rule r where r.queue = sample.queue), 100000);
    seen perdure.queue_sample;
begin
    begin
        if not pg_try_advisory_xact_lock(hashtext('perdure.sample'), queue) then
            return false;
        end if;
        with heads as materialized (
            select c.lane, count(*) as jobs, min(c.pos) as first, max(c.pos) as last
            from (select r.lane, r.pos from perdure.ready r
                  where r.lane >= queue * 4096 and r.lane < (queue + 1) * 4096 order by r.lane, r.pos limit most) c
            group by c.lane
        ), eldest as (
            select h.lane, h.first, greatest(j.created_at, case when j.run_at <= began then j.run_at end) as since
            from heads h join perdure.ready r on r.lane = h.lane and r.pos = h.first join perdure.job j on j.id = r.id
            order by 3 limit 1
        )
        select coalesce(sum(h.jobs), 0), max(h.last), (select e.lane from eldest e), (select e.first from eldest e),
               (select e.since from eldest e)
        into seen.ready, seen.pos, seen.oldest_lane, seen.oldest_pos, seen.oldest_at
        from heads h;
        seen.line := (select count(*) from (select from perdure.scheduled s where s.run_at = perdure.line(queue) limit most) c);
        raise exception using errcode = 'PD000';
    exception when sqlstate 'PD000' then
        null;
    end;
    if seen.pos is null then
        seen.pos := coalesce((select x.pos from perdure.queue_sample x where x.queue = sample.queue order by x.at desc limit 1), 0);
    end if;
    select coalesce(sum((w.gauges -> 'queues' -> q.name ->> 'ended_per_second')::float8), 0), count(w.id)
    into seen.ended_per_second, seen.workers
    from perdure.queue q
    left join perdure.worker w on w.state = 'alive' and w.expires_at > began and q.name = any(w.queues)
    where q.id = queue;
    if random() < 0.02 then
        delete from perdure.queue_sample x where x.ctid = any(array(
            select y.ctid from perdure.queue_sample y where y.queue = sample.queue and y.at < began - interval '10 minutes'
            order by y.at limit 1000 for update skip locked));
    end if;
    insert into perdure.queue_sample (queue, at, pos, ready, line, oldest_lane, oldest_pos, oldest_at, ended_per_second, workers, took)
    values (queue, began, seen.pos, seen.ready, seen.line, seen.oldest_lane, seen.oldest_pos, seen.oldest_at,
            seen.ended_per_second, seen.workers, extract(epoch from clock_timestamp() - began));
    return true;
end $$;

CREATE FUNCTION perdure.shed(queue integer, priority integer, wanted integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_variable
declare
    gone bigint[]; positions bigint[]; lanes int[];
begin
    lock table perdure.ready in row exclusive mode;
    select array_agg(p.id), array_agg(p.pos), array_agg(p.lane) into gone, positions, lanes
    from (
        select b.id, b.pos, b.lane
        from generate_series(queue * 4096 + 9, queue * 4096 + priority + 1, -1) as l(lane)
        cross join lateral (
            select j.id, r.pos, r.lane from perdure.ready r join perdure.job j on j.id = r.id
            where r.lane = l.lane and (select u.job from perdure.run u where u.job = r.id) is null
            order by r.pos desc limit wanted for update of r, j skip locked
        ) b
        limit wanted
    ) p;
    if coalesce(cardinality(gone), 0) < wanted then
        return 0;
    end if;
    delete from perdure.ready r using unnest(lanes, positions) as t(lane, pos) where r.lane = t.lane and r.pos = t.pos;
    with ended as (
        delete from perdure.job j where j.id = any(gone) returning j.*
    )
    insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, key, tags,
                                 options, context, error, payload)
    select id, created_at, statement_timestamp(), lane, generation, attempt, rescues, 'discarded', task, key, tags, options,
           context, 'shed: its queue was full, and more urgent jobs came', payload
    from ended;
    delete from perdure.cancel_request c where c.id = any(gone);
    return wanted;
end $$;

CREATE FUNCTION perdure.shed_all(queues integer[], priorities integer[], wanted integer[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_variable
declare
    place int;
begin
    for place in 1 .. cardinality(queues) loop
        if perdure.shed(queues[place], priorities[place], wanted[place]) < wanted[place] then
            raise exception using errcode = 'PD000', detail = place;
        end if;
    end loop;
    return null;
exception when sqlstate 'PD000' then
    get stacked diagnostics place = pg_exception_detail;
    return place;
end $$;

CREATE FUNCTION perdure.signal_v1(id text, name text, payload json DEFAULT NULL::json, key text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_variable
declare
    target bigint; moved bigint; lane int;
begin
    lock table perdure.ready in row exclusive mode;
    perform perdure.check_text('id', id, 255);
    perform perdure.check_text('name', name, 100);
    if key is not null then
        perform perdure.check_text('key', key, 255);
    end if;
    if payload is not null then
        perform perdure.check_json(payload);
    end if;
    -- As in workflows.hold: a run that is going to wait sees this lock, and doesn't wait for long.
    select r.job into target from perdure.run r where r.id = signal_v1.id and not r.superseded for key share;
    if target is null then
        return 'missing';
    elsif not exists (select from perdure.job j where j.id = target) then
        return 'finished';
    end if;
    insert into perdure.signal (run, name, key, payload) values (target, name, key, coalesce(payload, 'null'))
    on conflict do nothing;
    if not found then
        return 'duplicate';
    end if;
    if not exists (select from perdure.step s where s.run = target and s.kind = 'signal' and s.state = 'waiting' and s.detail = name) then
        return 'sent';
    end if;
    delete from perdure.waiting w using (select y.id from perdure.waiting y where y.id = target for update skip locked) l
    where w.id = l.id returning w.id into moved;
    if moved is not null then
        update perdure.job j set pos = nextval('perdure.pos') where j.id = target returning j.lane, j.pos into lane, moved;
        insert into perdure.ready (lane, pos, id) values (lane, moved, target);
        perform perdure.wake(lane / 4096);
    elsif exists (select from perdure.waiting w where w.id = target) then
        insert into perdure.nudge (id) values (target) on conflict do nothing;
    end if;
    return 'sent';
end $$;

CREATE FUNCTION perdure.take_in(queue integer, name text, priority integer, due timestamp with time zone, tenant text) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_variable
declare
    found record;
begin
    select * into found from perdure.admit(queue, 1);
    if found.tenant_required and tenant is null then
        perform perdure.refuse('PD001', 'context.tenant', format('is missing, and the queue %s takes no job without', name),
                               'name the tenant in context');
    elsif found.room is null or found.room > 0 or due is not null and found.when_full in ('spill', 'delay') then
        return due;
    elsif found.when_full = 'spill' then
        return perdure.line(queue);
    elsif found.when_full = 'delay' then
        return clock_timestamp() + found.retry_after * interval '1 second';
    elsif found.when_full = 'shed_lowest' then
        if not has_table_privilege('perdure.ready', 'delete') then
            perform perdure.refuse('42501', 'queue', format('%s is full, and this database user may not discard what is less urgent in it', name),
                                   format('enqueue as a user that is granted perdure_worker, or try again in %s s', ceil(found.retry_after)));
        elsif perdure.shed(queue, priority, 1) = 1 then
            return due;
        end if;
    end if;
    raise exception using errcode = 'PD005', column = 'queue', detail = ceil(found.retry_after),
        message = format('queue: %s holds %s jobs, and has no room for another', name, found.depth),
        hint = format('try again in %s s, or see why the queue drains no faster', ceil(found.retry_after));
end $$;

CREATE FUNCTION perdure.take_key(scope text, key text, id bigint, until text, lifetime double precision, payload json) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_variable
declare
    held record;
begin
    for round in 1 .. 10 loop
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        values (scope, key, id, until, clock_timestamp() + lifetime * interval '1 second',
                hashtextextended(payload::jsonb::text, 0))
        on conflict do nothing;
        if found then
            return null;
        end if;
        select u.id as job, case u.until
                   when 'started' then coalesce(v.place not in ('ready', 'scheduled', 'held'), true)
                   when 'done' then coalesce(v.place = 'history', true) and coalesce(u.expires_at <= clock_timestamp(), true)
                   else u.expires_at <= clock_timestamp() end as free
        into held
        from perdure.unique_key u
        left join lateral (select j.place from perdure.jobs j where j.id = u.id limit 1) v on true
        where u.key = take_key.key and u.scope = take_key.scope;
        if held.free then
            delete from perdure.unique_key u where u.key = take_key.key and u.scope = take_key.scope and u.id = held.job;
        elsif held.job is not null then
            return held.job;
        end if;
    end loop;
    raise exception using errcode = '40001', message = 'unique: the key changes hands all the time';
end $$;

CREATE FUNCTION perdure.take_keys(scopes text[], keys text[], ids bigint[], untils text[], lifetimes double precision[], payloads bigint[]) RETURNS bigint[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    now constant timestamptz := clock_timestamp();
    won bigint[];
begin
    begin
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        select coalesce(t.scope, scopes[1]), t.key, t.id, coalesce(t.until, untils[1]),
               now + t.lifetime * interval '1 second', t.payload
        from unnest(scopes, keys, ids, untils, lifetimes, payloads) as t(scope, key, id, until, lifetime, payload)
        order by t.key collate "C", coalesce(t.scope, scopes[1]) collate "C", t.id;
        return null;
    exception when unique_violation then
        null;
    end;
    with taken as (
        insert into perdure.unique_key (scope, key, id, until, expires_at, payload)
        select coalesce(t.scope, scopes[1]), t.key, t.id, coalesce(t.until, untils[1]),
               now + t.lifetime * interval '1 second', t.payload
        from unnest(scopes, keys, ids, untils, lifetimes, payloads) as t(scope, key, id, until, lifetime, payload)
        order by t.key collate "C", coalesce(t.scope, scopes[1]) collate "C", t.id
        on conflict do nothing
        returning unique_key.id
    )
    select coalesce(array_agg(n.id), '{}') into won from taken n;
    return won;
end $$;

CREATE FUNCTION perdure.unseat(job bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    body perdure.job; seated boolean := false;
begin
    select * into body from perdure.job j where j.id = job;
    delete from perdure.ready r using (
        select y.lane, y.pos from perdure.ready y where y.lane = body.lane and y.pos = body.pos for update skip locked) l
    where r.lane = l.lane and r.pos = l.pos;
    seated := found;
    delete from perdure.scheduled s using (
        select y.run_at, y.id from perdure.scheduled y where y.run_at = body.run_at and y.id = body.id for update skip locked) l
    where s.run_at = l.run_at and s.id = l.id;
    seated := seated or found;
    delete from perdure.held h using (
        select y.id from perdure.held y where y.id = body.id for update skip locked) l
    where h.id = l.id;
    seated := seated or found;
    if seated then
        delete from perdure.checkpoint c where c.job = body.id;
        delete from perdure.progress p where p.job = body.id;
        delete from perdure.follow_up f where f.job = body.id;
    end if;
    return seated;
end $$;

CREATE FUNCTION perdure.wake(queue integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if (case when pg_try_advisory_lock(hashtext('perdure.sleepers'), queue)
             then pg_advisory_unlock(hashtext('perdure.sleepers'), queue) else false end) then
        return false;
    end if;
    perform pg_notify('perdure', queue::text);
    return true;
end $$;

CREATE TABLE perdure.act (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    by text NOT NULL,
    act text NOT NULL,
    filter json NOT NULL,
    reason text,
    jobs bigint NOT NULL,
    first_id bigint,
    last_id bigint,
    CONSTRAINT act_act_check CHECK ((act = ANY (ARRAY['redrive'::text, 'discard'::text]))),
    CONSTRAINT act_by_check CHECK ((by <> ''::text))
);

ALTER TABLE perdure.act ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.act_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.attempt (
    job bigint NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    worker integer,
    lease bigint,
    generation integer NOT NULL,
    attempt integer NOT NULL,
    ending text NOT NULL,
    error text
)
PARTITION BY RANGE (ended_at);

CREATE TABLE perdure.attempt_default (
    job bigint CONSTRAINT attempt_job_not_null NOT NULL,
    ended_at timestamp with time zone CONSTRAINT attempt_ended_at_not_null NOT NULL,
    started_at timestamp with time zone,
    worker integer,
    lease bigint,
    generation integer CONSTRAINT attempt_generation_not_null NOT NULL,
    attempt integer CONSTRAINT attempt_attempt_not_null NOT NULL,
    ending text CONSTRAINT attempt_ending_not_null NOT NULL,
    error text
);

CREATE TABLE perdure.cancel_request (
    id bigint NOT NULL,
    reason text,
    requested_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE perdure.checkpoint (
    job bigint NOT NULL,
    generation integer NOT NULL,
    serial bigint NOT NULL,
    version integer NOT NULL,
    value json NOT NULL,
    saved_at timestamp with time zone NOT NULL,
    advanced_at timestamp with time zone NOT NULL,
    advanced_in integer NOT NULL,
    CONSTRAINT checkpoint_version_check CHECK ((version > 0))
)
WITH (fillfactor='50', autovacuum_vacuum_threshold='500', autovacuum_vacuum_scale_factor='0.02');

CREATE TABLE perdure.chore (
    name text NOT NULL,
    running_on integer,
    last_started_at timestamp with time zone,
    last_success_at timestamp with time zone,
    last_failure_at timestamp with time zone,
    last_error text,
    consecutive_failures integer DEFAULT 0 NOT NULL,
    period interval,
    due_at timestamp with time zone,
    parked_until timestamp with time zone,
    batch integer,
    CONSTRAINT chore_batch_check CHECK ((batch > 0)),
    CONSTRAINT chore_consecutive_failures_check CHECK ((consecutive_failures >= 0)),
    CONSTRAINT chore_name_check CHECK ((name <> ''::text))
)
WITH (fillfactor='50', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0');

CREATE TABLE perdure.dead (
    id bigint NOT NULL,
    reason text NOT NULL,
    error text,
    died_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT dead_reason_check CHECK ((reason <> ''::text))
);

CREATE TABLE perdure.effect (
    handler text NOT NULL,
    key text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT effect_handler_check CHECK ((handler <> ''::text)),
    CONSTRAINT effect_key_check CHECK ((key <> ''::text))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000');

CREATE TABLE perdure.entity (
    machine text NOT NULL,
    id text NOT NULL,
    state text NOT NULL,
    revision integer DEFAULT 0 NOT NULL,
    event text,
    entered_at timestamp with time zone DEFAULT now() NOT NULL,
    stuck_at timestamp with time zone,
    moved_by text,
    reason text,
    context json,
    CONSTRAINT entity_id_check CHECK ((id <> ''::text))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000');

CREATE TABLE perdure.entity_move (
    machine text NOT NULL,
    id text NOT NULL,
    revision integer NOT NULL,
    event text,
    source text,
    target text NOT NULL,
    moved_at timestamp with time zone NOT NULL,
    moved_by text,
    reason text,
    context json
);

CREATE TABLE perdure.follow_up (
    job bigint NOT NULL,
    number integer NOT NULL,
    cause text NOT NULL,
    spec json NOT NULL,
    problem text,
    CONSTRAINT follow_up_cause_check CHECK ((cause = ANY (ARRAY['success'::text, 'death'::text])))
);

CREATE TABLE perdure.followed (
    job bigint NOT NULL,
    follower bigint NOT NULL,
    cause text NOT NULL,
    at timestamp with time zone DEFAULT statement_timestamp() NOT NULL
);

CREATE TABLE perdure.held (
    id bigint NOT NULL,
    reason text NOT NULL,
    key text,
    held_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT held_reason_check CHECK ((reason <> ''::text))
);

CREATE TABLE perdure.history (
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone NOT NULL,
    lease bigint,
    lane integer NOT NULL,
    generation integer NOT NULL,
    attempt integer NOT NULL,
    rescues integer NOT NULL,
    outcome text NOT NULL,
    task text NOT NULL,
    key text,
    tags text[],
    options json,
    error text,
    result json,
    payload json NOT NULL,
    context json,
    CONSTRAINT history_outcome_check CHECK ((outcome = ANY (ARRAY['completed'::text, 'cancelled'::text, 'expired'::text, 'discarded'::text])))
)
PARTITION BY RANGE (finished_at);

CREATE TABLE perdure.history_default (
    id bigint CONSTRAINT history_id_not_null NOT NULL,
    created_at timestamp with time zone CONSTRAINT history_created_at_not_null NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone CONSTRAINT history_finished_at_not_null NOT NULL,
    lease bigint,
    lane integer CONSTRAINT history_lane_not_null NOT NULL,
    generation integer CONSTRAINT history_generation_not_null NOT NULL,
    attempt integer CONSTRAINT history_attempt_not_null NOT NULL,
    rescues integer CONSTRAINT history_rescues_not_null NOT NULL,
    outcome text CONSTRAINT history_outcome_not_null NOT NULL,
    task text CONSTRAINT history_task_not_null NOT NULL,
    key text,
    tags text[],
    options json,
    error text,
    result json,
    payload json CONSTRAINT history_payload_not_null NOT NULL,
    context json,
    CONSTRAINT history_outcome_check CHECK ((outcome = ANY (ARRAY['completed'::text, 'cancelled'::text, 'expired'::text, 'discarded'::text])))
);

CREATE TABLE perdure.job (
    id bigint NOT NULL,
    pos bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    run_at timestamp with time zone,
    expires_at timestamp with time zone,
    lane integer NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    rescues integer DEFAULT 0 NOT NULL,
    task text NOT NULL,
    key text,
    tags text[],
    options json,
    payload json NOT NULL,
    crashes integer,
    context json,
    CONSTRAINT job_sane CHECK (((lane >= 4096) AND (generation >= 0) AND (attempt >= 0) AND (rescues >= 0) AND (task <> ''::text)))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.queue (
    id integer NOT NULL,
    name text NOT NULL,
    paused_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    guarded boolean DEFAULT false NOT NULL,
    CONSTRAINT queue_id_check CHECK (((id >= 1) AND (id <= 500000))),
    CONSTRAINT queue_name_check CHECK ((name <> ''::text))
);

CREATE TABLE perdure.ready (
    lane integer NOT NULL,
    pos bigint NOT NULL,
    id bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.scheduled (
    run_at timestamp with time zone NOT NULL,
    id bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.waiting (
    id bigint NOT NULL,
    wake_at timestamp with time zone,
    since timestamp with time zone DEFAULT now() NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE VIEW perdure.jobs AS
 SELECT j.id,
    j.task,
    q.name AS queue,
    j.key,
        CASE
            WHEN (r.id IS NOT NULL) THEN 'ready'::text
            WHEN (s.id IS NOT NULL) THEN 'scheduled'::text
            WHEN (h.id IS NOT NULL) THEN 'held'::text
            WHEN (w.id IS NOT NULL) THEN 'waiting'::text
            WHEN (d.id IS NOT NULL) THEN 'dead'::text
            ELSE 'leased'::text
        END AS place,
    COALESCE(h.reason, d.reason) AS reason,
    NULL::text AS outcome,
    ((j.lane % 4096) % 10) AS priority,
    (j.attempt +
        CASE
            WHEN (COALESCE(r.id, s.id, h.id, w.id, d.id) IS NULL) THEN 1
            ELSE 0
        END) AS attempt,
    j.rescues,
    j.generation,
    j.created_at,
    COALESCE(s.run_at, w.wake_at) AS run_at,
    j.expires_at,
    NULL::timestamp with time zone AS started_at,
    NULL::timestamp with time zone AS finished_at,
    j.tags,
    j.options,
    COALESCE(d.error,
        CASE
            WHEN (j.attempt > 0) THEN ( SELECT a.error
               FROM perdure.attempt a
              WHERE (a.job = j.id)
              ORDER BY a.ended_at DESC
             LIMIT 1)
            ELSE NULL::text
        END) AS error,
    j.payload,
    NULL::json AS result,
    j.context
   FROM ((((((perdure.job j
     JOIN perdure.queue q ON ((q.id = (j.lane / 4096))))
     LEFT JOIN perdure.ready r ON (((r.lane = j.lane) AND (r.pos = j.pos))))
     LEFT JOIN perdure.scheduled s ON (((s.run_at = j.run_at) AND (s.id = j.id))))
     LEFT JOIN perdure.held h ON ((h.id = j.id)))
     LEFT JOIN perdure.waiting w ON ((w.id = j.id)))
     LEFT JOIN perdure.dead d ON ((d.id = j.id)))
UNION ALL
 SELECT f.id,
    f.task,
    q.name AS queue,
    f.key,
    'history'::text AS place,
    NULL::text AS reason,
    f.outcome,
    ((f.lane % 4096) % 10) AS priority,
    f.attempt,
    f.rescues,
    f.generation,
    f.created_at,
    NULL::timestamp with time zone AS run_at,
    NULL::timestamp with time zone AS expires_at,
    f.started_at,
    f.finished_at,
    f.tags,
    f.options,
    f.error,
    f.payload,
    f.result,
    f.context
   FROM (perdure.history f
     JOIN perdure.queue q ON ((q.id = (f.lane / 4096))));

CREATE TABLE perdure.lease (
    id bigint NOT NULL,
    worker integer NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL,
    jobs bigint[] NOT NULL,
    generations integer[] NOT NULL,
    CONSTRAINT lease_check CHECK (((cardinality(jobs) > 0) AND (cardinality(jobs) = cardinality(generations))))
)
WITH (toast_tuple_target='128', autovacuum_vacuum_threshold='500', autovacuum_vacuum_scale_factor='0');
ALTER TABLE ONLY perdure.lease ALTER COLUMN jobs SET STORAGE EXTERNAL;
ALTER TABLE ONLY perdure.lease ALTER COLUMN generations SET STORAGE EXTERNAL;

ALTER TABLE perdure.lease ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.lease_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.machine (
    name text NOT NULL,
    initial text NOT NULL,
    declared_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT machine_name_check CHECK ((name <> ''::text))
);

CREATE TABLE perdure.machine_state (
    machine text NOT NULL,
    state text NOT NULL,
    stuck_after interval,
    CONSTRAINT machine_state_state_check CHECK ((state <> ''::text))
);

CREATE TABLE perdure.migration (
    number integer NOT NULL,
    phase text NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT migration_number_check CHECK ((number > 0)),
    CONSTRAINT migration_phase_check CHECK ((phase = ANY (ARRAY['pre'::text, 'post'::text])))
);

CREATE TABLE perdure.nudge (
    id bigint NOT NULL,
    no bigint NOT NULL
);

ALTER TABLE perdure.nudge ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.nudge_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.pause (
    id bigint NOT NULL,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    resumed boolean DEFAULT false NOT NULL
);

CREATE TABLE perdure.plea (
    no bigint NOT NULL,
    id bigint NOT NULL,
    reason text
);

ALTER TABLE perdure.plea ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.plea_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE perdure.pos
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE perdure.progress (
    job bigint NOT NULL,
    generation integer NOT NULL,
    n double precision NOT NULL,
    total double precision,
    message text,
    began_n double precision NOT NULL,
    began_at timestamp with time zone NOT NULL,
    reported_at timestamp with time zone NOT NULL,
    advanced_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_threshold='500', autovacuum_vacuum_scale_factor='0.02');

ALTER TABLE perdure.queue ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.queue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.queue_rule (
    queue integer NOT NULL,
    unlimited boolean DEFAULT false NOT NULL,
    max_depth integer,
    max_age double precision,
    when_full text,
    deadline double precision,
    retention_days integer,
    tenant_required boolean DEFAULT false NOT NULL,
    declared_by text NOT NULL,
    declared_at timestamp with time zone DEFAULT now() NOT NULL,
    forgotten_day date,
    forgotten_id bigint,
    CONSTRAINT queue_rule_check CHECK (((when_full IS NOT NULL) = ((max_depth IS NOT NULL) OR (max_age IS NOT NULL)))),
    CONSTRAINT queue_rule_check1 CHECK (((deadline IS NOT NULL) = (NOT (when_full IS DISTINCT FROM 'block'::text)))),
    CONSTRAINT queue_rule_check2 CHECK (((NOT unlimited) OR (when_full IS NULL))),
    CONSTRAINT queue_rule_deadline_check CHECK ((deadline > (0)::double precision)),
    CONSTRAINT queue_rule_max_age_check CHECK ((max_age > (0)::double precision)),
    CONSTRAINT queue_rule_max_depth_check CHECK ((max_depth > 0)),
    CONSTRAINT queue_rule_retention_days_check CHECK ((retention_days > 0)),
    CONSTRAINT queue_rule_when_full_check CHECK ((when_full = ANY (ARRAY['reject'::text, 'block'::text, 'shed_lowest'::text, 'delay'::text, 'spill'::text])))
);

CREATE TABLE perdure.queue_sample (
    queue integer NOT NULL,
    at timestamp with time zone NOT NULL,
    pos bigint NOT NULL,
    ready integer NOT NULL,
    line integer NOT NULL,
    oldest_lane integer,
    oldest_pos bigint,
    oldest_at timestamp with time zone,
    ended_per_second double precision NOT NULL,
    workers integer NOT NULL,
    took double precision NOT NULL
)
WITH (autovacuum_vacuum_threshold='1000', autovacuum_vacuum_scale_factor='0');

CREATE TABLE perdure.run (
    job bigint NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    round integer DEFAULT 0 NOT NULL,
    superseded boolean DEFAULT false NOT NULL,
    parent bigint,
    close text,
    attributes json,
    skew interval DEFAULT '00:00:00'::interval NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deadline_at timestamp with time zone,
    paused_at timestamp with time zone,
    ended_at timestamp with time zone,
    failed_step text,
    trouble text,
    completed boolean,
    told json,
    CONSTRAINT run_close_check CHECK ((close = ANY (ARRAY['cancel'::text, 'abandon'::text]))),
    CONSTRAINT run_id_check CHECK ((id <> ''::text)),
    CONSTRAINT run_name_check CHECK ((name <> ''::text)),
    CONSTRAINT run_version_check CHECK ((version >= 1))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.signal (
    id bigint NOT NULL,
    run bigint NOT NULL,
    name text NOT NULL,
    key text,
    payload json,
    sent_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    taken text,
    taken_at timestamp with time zone,
    update boolean DEFAULT false NOT NULL,
    answered_at timestamp with time zone,
    refusal text,
    answer json,
    CONSTRAINT signal_check CHECK (((taken IS NULL) = (taken_at IS NULL))),
    CONSTRAINT signal_name_check CHECK ((name <> ''::text))
);

ALTER TABLE perdure.signal ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.signal_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE perdure.step (
    run bigint NOT NULL,
    name text NOT NULL,
    seq integer NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    due_at timestamp with time zone,
    detail text,
    outcome json,
    CONSTRAINT step_sane CHECK (((state = ANY (ARRAY['begun'::text, 'waiting'::text, 'retry'::text, 'done'::text, 'failed'::text, 'cancelled'::text])) AND ((state = ANY (ARRAY['done'::text, 'failed'::text, 'cancelled'::text])) = (ended_at IS NOT NULL))))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.transition (
    machine text NOT NULL,
    event text NOT NULL,
    source text NOT NULL,
    target text NOT NULL,
    after interval,
    CONSTRAINT transition_event_check CHECK ((event <> ''::text))
);

CREATE TABLE perdure.unique_key (
    scope text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    id bigint NOT NULL,
    until text NOT NULL,
    expires_at timestamp with time zone,
    payload bigint,
    CONSTRAINT unique_key_check CHECK (((until <> 'expired'::text) OR (expires_at IS NOT NULL))),
    CONSTRAINT unique_key_until_check CHECK ((until = ANY (ARRAY['started'::text, 'done'::text, 'expired'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE perdure.worker (
    id integer NOT NULL,
    name text NOT NULL,
    state text DEFAULT 'alive'::text NOT NULL,
    incarnation integer DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    host text NOT NULL,
    pid integer NOT NULL,
    slots integer NOT NULL,
    queues text[] NOT NULL,
    gauges json,
    unsettled integer,
    cause text,
    excused boolean DEFAULT false NOT NULL,
    workflows text[],
    CONSTRAINT worker_check CHECK (((state = ANY (ARRAY['dead'::text, 'left'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT worker_name_check CHECK ((name <> ''::text)),
    CONSTRAINT worker_state_check CHECK ((state = ANY (ARRAY['alive'::text, 'draining'::text, 'dead'::text, 'left'::text])))
)
WITH (fillfactor='50', autovacuum_vacuum_threshold='200', autovacuum_vacuum_scale_factor='0');

ALTER TABLE perdure.worker ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY perdure.attempt ATTACH PARTITION perdure.attempt_default DEFAULT;

ALTER TABLE ONLY perdure.history ATTACH PARTITION perdure.history_default DEFAULT;

ALTER TABLE ONLY perdure.act
    ADD CONSTRAINT act_pkey PRIMARY KEY (id);

ALTER TABLE perdure.attempt
    ADD CONSTRAINT attempt_ending_check CHECK ((ending = ANY (ARRAY['retry'::text, 'snooze'::text, 'dead'::text, 'held'::text, 'returned'::text, 'rescued'::text, 'waiting'::text]))) NOT VALID;

ALTER TABLE ONLY perdure.cancel_request
    ADD CONSTRAINT cancel_request_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (job);

ALTER TABLE ONLY perdure.chore
    ADD CONSTRAINT chore_pkey PRIMARY KEY (name);

ALTER TABLE ONLY perdure.dead
    ADD CONSTRAINT dead_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.effect
    ADD CONSTRAINT effect_pkey PRIMARY KEY (handler, key);

ALTER TABLE ONLY perdure.entity_move
    ADD CONSTRAINT entity_move_pkey PRIMARY KEY (machine, id, revision);

ALTER TABLE ONLY perdure.entity
    ADD CONSTRAINT entity_pkey PRIMARY KEY (machine, id);

ALTER TABLE ONLY perdure.follow_up
    ADD CONSTRAINT follow_up_pkey PRIMARY KEY (job, number);

ALTER TABLE ONLY perdure.followed
    ADD CONSTRAINT followed_pkey PRIMARY KEY (job, follower);

ALTER TABLE ONLY perdure.held
    ADD CONSTRAINT held_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.lease
    ADD CONSTRAINT lease_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.machine
    ADD CONSTRAINT machine_pkey PRIMARY KEY (name);

ALTER TABLE ONLY perdure.machine_state
    ADD CONSTRAINT machine_state_pkey PRIMARY KEY (machine, state);

ALTER TABLE ONLY perdure.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY perdure.nudge
    ADD CONSTRAINT nudge_pkey PRIMARY KEY (no);

ALTER TABLE ONLY perdure.pause
    ADD CONSTRAINT pause_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.plea
    ADD CONSTRAINT plea_pkey PRIMARY KEY (no);

ALTER TABLE ONLY perdure.progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (job);

ALTER TABLE ONLY perdure.queue
    ADD CONSTRAINT queue_name_key UNIQUE (name);

ALTER TABLE ONLY perdure.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.queue_rule
    ADD CONSTRAINT queue_rule_pkey PRIMARY KEY (queue);

ALTER TABLE ONLY perdure.ready
    ADD CONSTRAINT ready_pkey PRIMARY KEY (lane, pos);

ALTER TABLE ONLY perdure.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (job);

ALTER TABLE ONLY perdure.scheduled
    ADD CONSTRAINT scheduled_pkey PRIMARY KEY (run_at, id);

ALTER TABLE ONLY perdure.signal
    ADD CONSTRAINT signal_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (run, name);

ALTER TABLE ONLY perdure.transition
    ADD CONSTRAINT transition_pkey PRIMARY KEY (machine, source, event);

ALTER TABLE ONLY perdure.unique_key
    ADD CONSTRAINT unique_key_pkey PRIMARY KEY (key, scope);

ALTER TABLE ONLY perdure.waiting
    ADD CONSTRAINT waiting_pkey PRIMARY KEY (id);

ALTER TABLE ONLY perdure.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

CREATE INDEX attempt_job ON ONLY perdure.attempt USING btree (job);

CREATE INDEX attempt_default_job_idx ON perdure.attempt_default USING btree (job);

CREATE INDEX effect_expiry ON perdure.effect USING btree (expires_at);

CREATE INDEX entity_state ON perdure.entity USING btree (machine, state, id);

CREATE INDEX entity_stuck ON perdure.entity USING btree (stuck_at) WHERE (stuck_at IS NOT NULL);

CREATE INDEX held_reason ON perdure.held USING btree (reason, key, id);

CREATE INDEX history_id ON ONLY perdure.history USING btree (id);

CREATE INDEX history_default_id_idx ON perdure.history_default USING btree (id);

CREATE INDEX lease_worker ON perdure.lease USING btree (worker);

CREATE INDEX nudge_run ON perdure.nudge USING btree (id);

CREATE INDEX queue_sample_latest ON perdure.queue_sample USING btree (queue, at);

CREATE INDEX run_attributes ON perdure.run USING gin (((attributes)::jsonb) jsonb_path_ops) WHERE (attributes IS NOT NULL);

CREATE INDEX run_broken ON perdure.run USING btree (job) WHERE ((ended_at IS NOT NULL) AND (completed IS NOT TRUE));

CREATE INDEX run_completed ON perdure.run USING btree (job) WHERE ((ended_at IS NOT NULL) AND (completed IS NOT FALSE));

CREATE INDEX run_ended ON perdure.run USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE UNIQUE INDEX run_id ON perdure.run USING btree (id) WHERE (NOT superseded);

CREATE INDEX run_live ON perdure.run USING btree (job) WHERE (ended_at IS NULL);

CREATE INDEX run_parent ON perdure.run USING btree (parent) WHERE (parent IS NOT NULL);

CREATE INDEX run_paused ON perdure.run USING btree (job) WHERE (paused_at IS NOT NULL);

CREATE UNIQUE INDEX signal_key ON perdure.signal USING btree (run, name, key) WHERE (key IS NOT NULL);

CREATE INDEX signal_run ON perdure.signal USING btree (run, id);

CREATE INDEX unique_key_id ON perdure.unique_key USING btree (id);

CREATE INDEX waiting_due ON perdure.waiting USING btree (wake_at, id) WHERE (wake_at IS NOT NULL);

CREATE INDEX worker_ended ON perdure.worker USING btree (ended_at) WHERE (state = ANY (ARRAY['dead'::text, 'left'::text]));

CREATE INDEX worker_living ON perdure.worker USING btree (expires_at) WHERE (state = ANY (ARRAY['alive'::text, 'draining'::text]));

ALTER INDEX perdure.attempt_job ATTACH PARTITION perdure.attempt_default_job_idx;

ALTER INDEX perdure.history_id ATTACH PARTITION perdure.history_default_id_idx;

CREATE TRIGGER entity_checked BEFORE INSERT OR UPDATE ON perdure.entity FOR EACH ROW EXECUTE FUNCTION perdure.check_entity();

CREATE TRIGGER entity_dropped AFTER DELETE ON perdure.entity FOR EACH ROW EXECUTE FUNCTION perdure.drop_moves();

CREATE TRIGGER entity_kept BEFORE DELETE ON perdure.entity FOR EACH ROW EXECUTE FUNCTION perdure.keep_entity();

CREATE TRIGGER entity_logged AFTER INSERT OR UPDATE ON perdure.entity FOR EACH ROW EXECUTE FUNCTION perdure.log_entity();

CREATE TRIGGER moves_kept BEFORE DELETE OR UPDATE ON perdure.entity_move FOR EACH ROW EXECUTE FUNCTION perdure.keep_moves();

ALTER TABLE ONLY perdure.machine_state
    ADD CONSTRAINT machine_state_machine_fkey FOREIGN KEY (machine) REFERENCES perdure.machine(name) ON DELETE CASCADE;

ALTER TABLE ONLY perdure.transition
    ADD CONSTRAINT transition_machine_fkey FOREIGN KEY (machine) REFERENCES perdure.machine(name) ON DELETE CASCADE;
