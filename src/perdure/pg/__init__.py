"""Talking to Postgres: finding a server, connecting, migrating, and driving ops on a connection.

Everything that touches a database driver lives here; what is asked of the database lives in ``sql`` and in the rooms'
``ops``. Nothing here knows what a job is.
"""
