-- An enqueuer's no to at_most_once is kept by enqueue_v1, as the client keeps it: the task may declare otherwise.
-- Nothing else of the function changes, so that only what changes is said.
do $do$
declare
    before text := pg_get_functiondef('perdure.enqueue_v1'::regproc);
    after text := replace(before, 'nullif(at_most_once, false)', 'at_most_once');
begin
    if after = before then
        raise exception 'enqueue_v1 is not the function that this migration knows';
    end if;
    execute after;
end
$do$;
