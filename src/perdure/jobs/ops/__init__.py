"""Conversations about jobs with Postgres. They never wait, begin or commit; the connection they are driven on does."""
