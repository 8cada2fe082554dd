"""One process per engine and repeat: a job in, a result out, both JSON; what fails says why and stops nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Result = dict[str, Any]

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ROOT = Path(__file__).parents[2]


class Skipped(Exception):
    """An engine cannot run here; the message says why and what to do."""


class Jobs:
    """Starts the processes of a bench.

    Args:
        folder: for jobs, results and what the engines write.
        threads: of each process.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads, self._count = folder, threads, 0

    @property
    def environment(self) -> dict[str, str]:
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, **quiet, **dict.fromkeys(THREADS, str(self.threads)), "PYTHONPATH": os.pathsep.join(paths)}

    def run(self, part: str, engine: str, job: Job) -> Result:
        """Return what an engine makes of a job: its result and ``wall`` seconds, or why there is none (:func:`reason`)."""
        self._count += 1
        given = self.folder / f"{self._count:04}-{part}-{engine}.json"
        returned = given.with_suffix(".result.json")
        whole = {"part": part, "engine": engine, "threads": self.threads, **job}
        given.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
        start = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "bench.speed.engine", str(given), str(returned)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        wall = time.perf_counter() - start
        if not returned.is_file():
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            return {"failed": f"ended with code {process.returncode}: {last[:200]}"}
        result: Result = json.loads(returned.read_text(encoding="utf-8"))
        return {"wall": wall, **result}


def interleaved(
    engines: Sequence[str], repeats: int, run: Callable[[str, int], Result], note: Callable[[str], None]
) -> dict[str, list[Result]]:
    """Return the results of each engine, repeat by repeat, all engines in turn within a repeat.

    An engine that cannot do its job is not asked again; where it never could, its only result says why.

    Args:
        engines: their names.
        repeats: how often each of them runs.
        run: carries out the job of an engine in a repeat (from 0).
        note: is told of each result.
    """
    results: dict[str, list[Result]] = {engine: [] for engine in engines}
    useless: set[str] = set()
    for repeat in range(repeats):
        # Every second round runs backwards, so that no engine always follows the same one.
        for engine in engines if repeat % 2 == 0 else reversed(engines):
            if engine in useless:
                continue
            result = run(engine, repeat)
            if why := reason(result):
                useless.add(engine)
                results[engine] = results[engine] or [result]
                note(f"{engine}: {why}")
            else:
                results[engine].append(result)
    return results


def reason(result: Result) -> str | None:
    """Return why there is no measurement in a result; None where there is one."""
    for kind in ("skipped", "failed"):
        if kind in result:
            return f"{kind}: {result[kind]}"
    return None
