"""What a worker's own process does to Python's collector of cycles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.jobs.model import JobSpec
from tests import forge
from tests.rooms.worker.stage import BOUND_SECONDS, Stage

APP = """
import gc
from perdure import App

app = App("calm")

@app.task
async def look() -> list[int]:
    return list(gc.get_threshold())
"""


@pytest.mark.newest
@pytest.mark.parametrize("said", ["", "gc.set_threshold(900, 20, 30)"], ids=["nothing", "its own"])
async def test_a_worker_looks_through_everything_less_often(stage: Stage, tmp_path: Path, said: str) -> None:
    """A worker's process makes full collections ten times as rarely as Python by itself, unless its app has said how
    often. Red when it doesn't, and when it overrules the app."""
    fresh = subprocess.run(
        [sys.executable, "-c", "import gc; print(*gc.get_threshold())"], capture_output=True, text=True
    )
    young, middle, full = map(int, fresh.stdout.split())
    found = [900, 20, 30] if said else [young, middle, 100 if full == 10 else full]
    (tmp_path / "calm.py").write_text(f"{APP}\n{said}\n")
    (id,) = await stage.enqueue(JobSpec(task="look", payload="{}", queue="default"))
    environment = {**os.environ, "DATABASE_URL": stage.db.url, "PYTHONPATH": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        arguments = ["worker", "calm:app", "--schema", stage.db.schema]
        process = forge.start(arguments, cwd=tmp_path, env=environment, stdout=log.fileno(), stderr=log.fileno())
        try:
            (job,) = await stage.until_in("history", id)
        finally:
            process.terminate()
            assert process.wait(BOUND_SECONDS) == 0, (tmp_path / "log").read_text()

    assert job.result == found
