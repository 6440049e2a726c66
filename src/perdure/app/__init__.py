"""What users import: the registry of tasks, the clients, the worker that puts every loop together.

Here lives what composes the rooms below, and no rule of theirs.
"""
