"""Demonstrations: the promises, kept before one's eyes by real processes that are really killed.

Here live the story of order:9182 and the feeding of a file, as programs that an application could have written, and
the ledgers that are checked at their end. Every figure is measured. Nothing here is used by a running application, and
nothing outside the schema SCHEMA is touched.
"""
