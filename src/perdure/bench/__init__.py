"""Benchmarks: what a promise costs on this machine, each figure beside the floor measured in the same run.

The floor is what any queue in Postgres must at least write: a plain batched INSERT and DELETE of the same payload. Here
lives what measures and what is measured with; nothing that a running application uses. Every benchmark works in a
schema of its own, checks by counting that nothing was lost, and removes the schema when it ends.
"""
