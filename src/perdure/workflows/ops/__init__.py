"""Conversations about runs: start, load, record, signal, control."""
