"""The clients: the nouns of the product, in two colours. What a verb does is in ``verbs``, once; the rest drives it.

``sync`` and ``aio`` hold the connections, ``jobs``, ``queues`` and ``workers`` one noun each, ``gather`` what makes one
statement of many callers.
"""

from __future__ import annotations

from .aio import AsyncClient
from .bound import AsyncBound, AsyncTransaction, Bound, Transaction
from .sync import Client
from .verbs import Page

__all__ = ["AsyncBound", "AsyncClient", "AsyncTransaction", "Bound", "Client", "Page", "Transaction"]
