"""A client that reads jobs while the days are made and dropped."""

from __future__ import annotations

import threading

from perdure import Client
from perdure.core.errors import DatabaseError
from perdure.jobs.ops import chores
from perdure.pg.drive import drive
from tests.conftest import Database
from tests.rooms.client.patience import patient
from tests.rooms.client.shop import send_receipt

WAIT_SECONDS = 60.0
ROUNDS = 25
DAYS = 2


def test_a_reader_and_the_making_of_days_never_deadlock(db: Database) -> None:
    """Jobs are read while days are made and dropped, many times over, and neither side is a deadlock's victim.

    Guard: a transaction makes or drops the days of one table; with both in one, Postgres ends the reader or the chore.
    """
    ended: list[DatabaseError] = []
    done = threading.Event()
    with Client(patient(db)) as client:
        id = client.jobs.enqueue(send_receipt.job(order_id=9182)).id

        def read() -> None:
            while not done.is_set():
                try:
                    client.jobs.get(id)
                except DatabaseError as error:
                    ended.append(error)
                    return

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        conn = db.connect()
        for _ in range(ROUNDS):
            for parent in chores.DAY_TABLES:
                with conn.transaction():
                    drive(conn, chores.make_days(parent, DAYS))
                    drive(conn, chores.drop_days(parent, -2 * DAYS))
        done.set()
        for reader in readers:
            reader.join(WAIT_SECONDS)

    assert ended == []
