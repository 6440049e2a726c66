"""Conversations about workers with Postgres."""
