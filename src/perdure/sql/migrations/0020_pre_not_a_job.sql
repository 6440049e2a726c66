-- Runs of workflows are started, and enqueue_v1 says so where it is told to enqueue one.
--
-- What is a workflow only code can tell, and its workers do: a name with a version in it, as report/2, may be a task's as well.

alter table perdure.worker add column workflows text[];

-- Refuses a workflow's version, as its workers name it. A database user who hasn't been granted what they say is refused nothing:
-- the worker that finds the job tells.
create function perdure.check_task(task text) returns void
language plpgsql stable set search_path = pg_catalog as $$
begin
    if task !~ '/[0-9]+$' or not has_column_privilege('perdure.worker', 'workflows', 'select') then
        return;
    elsif exists (select from perdure.worker w where check_task.task = any (w.workflows)) then
        perform perdure.refuse('PD001', 'task', task || ' is a workflow, whose runs are started and not enqueued',
                               'start it with client.workflows.start, or enqueue a task that does');
    end if;
end $$;

-- Nothing else of the function changes, so that only what changes is said.
do $do$
declare
    before text := pg_get_functiondef('perdure.enqueue_v1'::regproc);
    after text := replace(before, $$perform perdure.check_name('task', task, 200);$$,
                          $$perform perdure.check_name('task', task, 200);
    perform perdure.check_task(task);$$);
begin
    if after = before then
        raise exception 'enqueue_v1 is not the function that this migration knows';
    end if;
    execute after;
end
$do$;
