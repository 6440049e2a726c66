"""Jobs: enqueue, claim, run, settle, rescue. A job's state is the place it stands in; ``states`` is the table of moves.

Here lives the claim loop and nothing above it: no handler, no client, no command line. Settling is fenced by
(id, generation); nothing outside ``ops`` talks to Postgres, nothing outside ``loops`` waits.
"""
