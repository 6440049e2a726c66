"""The guarantees, shown on the user's own server: a schema of its own, real worker processes, real kills.

What is checked here is a handful of the repository's tests, written so that they can be run where the work will be.
"""
