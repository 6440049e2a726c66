"""Write src/perdure/sql/schema.sql: the schema that all migrations make together, as ``pg_dump`` sees it.

Migrations are read one by one; this file is read at once, and its diff shows a reviewer what a migration really does.
A test compares it with the migrations, on the newest Postgres, because each version words its dump a little otherwise.
The partitions of single days are left out: they are data, made anew every day.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from perdure.pg import embedded
from perdure.pg.connect import connect
from perdure.pg.lodging import binaries, server_owner
from perdure.pg.migrate import migrate

TARGET = Path(__file__).resolve().parents[1] / "src" / "perdure" / "sql" / "schema.sql"
HEADER = """\
-- The sum of the migrations, written by tools/dump_schema.py and compared with them by a test. Nothing runs this file.

"""
_NOISE = re.compile(r"^(?:--.*|\\(?:un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)\n", re.MULTILINE)


def dump(url: str, programs: Path) -> str:
    """The schema ``perdure`` of the database, without comments, settings and owners. ``programs`` has ``pg_dump``."""
    command = [str(programs / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "--schema=perdure"]
    days = "--exclude-table=perdure.*_20[0-9][0-9][0-9][0-9][0-9][0-9]"
    said = subprocess.run([*command, days, url], check=True, capture_output=True, text=True).stdout
    return HEADER + re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", said)).strip() + "\n"


def main() -> None:
    """Migrate a database made for the purpose, and write what became of it."""
    with tempfile.TemporaryDirectory(prefix="perdure-schema-") as home:
        Path(home).chmod(0o755)  # the server may run as another user
        url = embedded.ensure(home, say=lambda line: None)
        try:
            with connect(url, "migration") as conn:
                migrate(conn)
            TARGET.write_text(dump(url, binaries(server_owner())))
        finally:
            embedded.stop(home)
    sys.stderr.write(f"wrote {TARGET.name}\n")


if __name__ == "__main__":
    main()
