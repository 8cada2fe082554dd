"""Does a study that is killed again and again end with the bytes of an undisturbed one, apart from what it cost?

    python bench/killed_study.py -o DIR [--kills 20] [--seed 0] [--base FOLDER ...] [--set key=value ...]

The study is the bundled `demo`, cut down, with tuning and a stage-1 model added. `xeric study run` carries it out undisturbed.
Then it is started again and again in another folder, and its process group killed (SIGKILL) when it has used a random amount of
processor time: spread over start-up and over a share of the work, so that the kills of one study reach all of it. Where a study
ends before all kills have hit, the next one begins. Every file of every study is compared. The exit code is 1 where one differs.

DIR must not hold anything yet; what differs can be looked at there. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PROGRAM = "from xeric.cli import main; main()"
POLL = 0.02
SETTINGS = (
    "tasks=[poem_generation_en, poem_generation_hi]",
    "sources=[summarization_en]",
    "seeds=[0, 1]",
    "run.data={n_train: 50, max_test: 4}",
    "run.train={max_steps: 6, batch_size: 8, dev_every: 3, checkpoint_seconds: 0.2}",
    "run.decode.max_new_tokens=8",
    "run.device=cpu",
    "stage={method: {name: full}, data: {n_train: 40, max_test: 1}}",
    "stage.train={max_steps: 6, batch_size: 8, checkpoint_seconds: 0.2}",
    "tuning={trials: 2, seed: 1000}",
    "methods={full: {name: full}, lora: {name: lora}, adapter: {name: bottleneck}, ours: {name: combined}}",
    "grids.base={bases: [multilingual], methods: [lora, ours]}",
    "grids.stage-1={bases: [multilingual], methods: [full, lora], starts: [stage-1]}",
    "grids.languages={methods: [lora]}",
    "claims={}",
)
COST = {"cost", "seconds", "memory"}
COSTLY_RESULTS = {"recommendation", "provenance"}
"""What results.json derives from times: what is cheapest, and what all of it took."""


def command(folder: Path, settings: Sequence[str]) -> list[str]:
    # With --json no report is written: it shows what everything cost.
    words = ["study", "run", "demo", "--json", "-o", str(folder)]
    return [sys.executable, "-c", PROGRAM, *words, *(word for setting in settings for word in ("--set", setting))]


class Running:
    """A study being carried out, in a process group of its own."""

    def __init__(self, folder: Path, settings: Sequence[str], log: Path) -> None:
        self._log = log.open("ab")
        arguments = command(folder, settings)
        self._process = subprocess.Popen(arguments, stdout=self._log, stderr=self._log, start_new_session=True)

    def poll(self) -> int | None:
        code = self._process.poll()
        if code is None:
            time.sleep(POLL)
        else:
            self._log.close()
        return code

    @property
    def processor_seconds(self) -> float:
        """Used so far: unlike time it does not pass faster on a busy machine."""
        try:
            whole = psutil.Process(self._process.pid)
            times = [process.cpu_times() for process in (whole, *whole.children(recursive=True))]
        except psutil.NoSuchProcess:
            return 0.0
        return float(sum(process.user + process.system for process in times))

    def kill(self) -> bool:
        """Kill the group; say whether that came before it had ended by itself."""
        os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._log.close()
        return code == -signal.SIGKILL


def undisturbed(folder: Path, settings: Sequence[str]) -> tuple[float, float]:
    """Carry a study out; return the processor seconds of start-up, until the first file of the study stands, and of all."""
    log = folder.with_suffix(".log")
    running, first, used = Running(folder, settings, log), None, 0.0
    while (code := running.poll()) is None:
        used = max(used, running.processor_seconds)
        if first is None and (folder / "study.yaml").is_file():
            first = used
    if code or first is None:
        sys.exit(f"the undisturbed study ended with exit code {code}:\n{log.read_text()[-3000:]}")
    return first, used


def disturbed(folder: Path, settings: Sequence[str], limit: float) -> bool:
    """Start a study or go on with it; return whether it was killed, after so many processor seconds, before its end."""
    log = folder.with_suffix(".log")
    running = Running(folder, settings, log)
    while (code := running.poll()) is None:
        if running.processor_seconds > limit:
            return running.kill()
    if code:
        sys.exit(f"the study, started again, ended with exit code {code}:\n{log.read_text()[-3000:]}")
    return False


def contents(folder: Path) -> dict[str, Any]:
    """Return every file and folder of a study, without what it cost."""
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        files[str(path.relative_to(folder))] = None if path.is_dir() else _content(path)
    return files


def _content(path: Path) -> Any:
    if path.name == "times.jsonl":
        return None
    if path.name not in ("record.json", "stage.json", "tuning.json", "results.json"):
        return path.read_bytes()
    value = _without(json.loads(path.read_bytes()), COST)
    if path.name == "results.json":
        value = {key: part for key, part in value.items() if key not in COSTLY_RESULTS}
        value["figures"] = [figure for figure in value["figures"] if figure["kind"] != "pareto"]
    return value


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, keys) for key, inner in value.items() if key not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value


def differences(folder: Path, expected: dict[str, Any]) -> list[str]:
    own = contents(folder)
    lines = [f"missing: {name}" for name in expected if name not in own]
    lines += [f"not in the undisturbed study: {name}" for name in own if name not in expected]
    return lines + [f"differs: {name}" for name in expected if name in own and own[name] != expected[name]]


def progress_of(folder: Path) -> str:
    records = {name: len(list(folder.glob(f"{name}/*/record.json"))) for name in ("runs", "tuning/*")}
    stages = len(list(folder.glob("stages/*/stage.json")))
    files = sum(path.is_file() for path in folder.rglob("*"))
    return f"{records['runs']} runs, {records['tuning/*']} trials and {stages} stages done, {files} files"


def settings_of(options: argparse.Namespace) -> list[str]:
    bases = (options.base * 2)[:2]
    named = [f"bases={json.dumps(dict(zip(('multilingual', 'monolingual'), bases, strict=True)))}"] if bases else []
    return [*named, *SETTINGS, *options.settings]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", action="append", default=[], metavar="FOLDER", help="in place of the demo's own; at most two")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    options = parser.parse_args()
    if options.output.exists() and any(options.output.iterdir()):
        sys.exit(f"{options.output} is not empty")
    options.output.mkdir(parents=True, exist_ok=True)
    settings, draw = settings_of(options), random.Random(options.seed)

    startup, whole = undisturbed(options.output / "undisturbed", settings)
    expected = contents(options.output / "undisturbed")
    share = 2 * (whole - startup) / options.kills
    print(
        f"undisturbed: {whole:.0f} processor seconds, {startup:.0f} of them start-up; {len(expected)} files and folders",
        flush=True,
    )

    kills = studies = 0
    bad: list[str] = []
    while kills < options.kills or not studies:
        folder = options.output / f"killed-{studies}"
        while True:
            limit = draw.uniform(0, startup + share) if kills < options.kills else float("inf")
            if not disturbed(folder, settings, limit):
                break
            kills += 1
            print(f"kill {kills} after {limit:.1f} processor seconds: {progress_of(folder)}", flush=True)
        studies += 1
        differing = differences(folder, expected)
        bad += [f"{folder.name}: {line}" for line in differing]
        print(f"{folder.name} has ended: {len(differing)} differences", flush=True)
    print("\n".join(bad) or f"{kills} kills, {studies} studies, the bytes of the undisturbed one in all of them, cost apart")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
