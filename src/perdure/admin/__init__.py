"""Operations, once: questions about a running system and what the answers mean. Whoever shows them, asks here.

A *report* is a question as a file of SQL (``sql/reports``), which anybody may also run in psql. A *check* of the doctor
asks one or more of them and judges the answer.
"""
