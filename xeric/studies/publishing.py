"""A study's folder without its texts: what others need to reproduce its tables and verdicts, and to continue it.

Predictions hold the inputs and references of the tasks, which often may not be passed on. What is published are records, configs,
tuning and the statistics that metrics counted (:mod:`xeric.metrics.stored`): no texts of instances, no weights, no folder and no
name of a machine. Definitions that were searched for are kept, since runs cannot be repeated without them. Every analysis runs on
it as on the whole folder, and ``xeric study run`` continues it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xeric.encodings import read_text
from xeric.errors import UserError
from xeric.files import write_atomically, writing
from xeric.json_io import read_json, write_json
from xeric.metrics import METRICS, PRIMARY
from xeric.metrics.stored import statistics_content, statistics_file
from xeric.records import PREDICTION_FILES, RECORD_FILE
from xeric.studies.folder import StudyFolder
from xeric.studies.paraphrases import FOLDER
from xeric.yaml_io import dump_yaml, load_yaml

__all__ = ["publish"]

_COPIED = (
    "runs.json",
    "baselines/baselines.json",
    "instructions/*/*/search.json",
)
_WITH_ERRORS = ("tuning/*/tuning.json", "runs/*/failure.json")
"""Files with errors of runs, which name files of this machine."""
_PREDICTIONS = (
    *(f"{runs}/{name}" for runs in ("runs/*", "tuning/*/*", "baselines/*/*") for name in PREDICTION_FILES.values()),
    f"runs/*/{FOLDER}/*.jsonl",
)
_OF_THIS_MACHINE = ("host", "platform")
_OF_TEST_OUTPUTS = ("shared",)
"""What a leak shares with a test output (:meth:`xeric.data.leaks.LeakReport.summary`)."""
_FULL_PATH = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:[\\/]|/)(?:[^\s'\"/\\:]+[/\\])+([^\s'\"/\\:]*)")


def publish(study: StudyFolder, target: Path) -> list[Path]:
    """Copy what may be published of a study into another folder; existing files there are updated.

    Args:
        study: the study's folder, finished or not.
        target: another folder; made where it is missing.

    Returns:
        The files written, in their order.

    Raises:
        UserError: the folder holds no study, or the target is the folder itself or holds another study.
    """
    identity, other = study.read_identity(), StudyFolder(target).read_identity()
    if identity is None:
        raise UserError("holds no study", where=str(study.root), hint="make one with `xeric study run STUDY -o FOLDER`")
    if target.resolve() == study.root.resolve():
        raise UserError("is the study's own folder", where=str(target), hint="name another with --to")
    if other is not None and other != identity:
        raise UserError(
            f"holds another study ({other}, this one is {identity})", where=str(target), hint="name another with --to"
        )
    content = dict(_contents(study.root))
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    for name, value in content.items():
        if isinstance(value, bytes):
            write_atomically(target / name, value)
        else:
            write_json(target / name, value)
    return [target / name for name in content]


def _contents(root: Path) -> Iterator[tuple[Path, bytes | dict[str, Any]]]:
    """Yield each published file's path in the folder and its content: bytes, or a plain value for JSON."""
    for pattern in ("study.yaml", "runs/*/config.yaml", "tuning/*/*/config.yaml"):
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root), _without_folders(path).encode()
    for path in sorted(path for pattern in _COPIED for path in root.glob(pattern)):
        yield path.relative_to(root), path.read_bytes()
    for path in sorted(path for pattern in _WITH_ERRORS for path in root.glob(pattern)):
        yield path.relative_to(root), _with_short_paths(read_json(path))
    for path in sorted(path for runs in ("runs/*", "tuning/*/*") for path in root.glob(f"{runs}/{RECORD_FILE}")):
        record = read_json(path)
        unpublished = {"cost": _OF_THIS_MACHINE, "leaks": _OF_TEST_OUTPUTS, "stages": _OF_TEST_OUTPUTS}
        yield path.relative_to(root), {key: _without(unpublished.get(key, ()), part) for key, part in record.items()}
    predictions = sorted(path for pattern in _PREDICTIONS for path in root.glob(pattern))
    for path in predictions:
        if path.stat().st_size:
            # Missing or outdated statistics are counted here, because they cannot be without the texts.
            names = [PRIMARY] if path.name == PREDICTION_FILES["dev"] else METRICS.names()
            yield statistics_file(path).relative_to(root), statistics_content(path, names)
    # A study that goes on from a published one has runs without texts: their statistics are all that is left of them.
    patterns = [str(statistics_file(Path(pattern))) for pattern in _PREDICTIONS]
    kept = {path for pattern in patterns for path in root.glob(pattern)}
    for path in sorted(kept - {statistics_file(path) for path in predictions}):
        yield path.relative_to(root), path.read_bytes()


def _without(keys: tuple[str, ...], value: Any) -> Any:
    """Return a plain value without what stands under these keys, wherever in it."""
    if isinstance(value, dict):
        return {key: _without(keys, part) for key, part in value.items() if key not in keys}
    return [_without(keys, part) for part in value] if isinstance(value, list) else value


def _with_short_paths(value: Any) -> Any:
    """Return a plain value in whose texts the last part stands for each full path."""
    if isinstance(value, dict):
        return {key: _with_short_paths(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_short_paths(part) for part in value]
    return _FULL_PATH.sub(r"\1", value) if isinstance(value, str) else value


def _without_folders(path: Path) -> str:
    """Return a YAML file of a study or a run without folders of this machine: of a path, the last part is kept."""
    first = read_text(path).partition("\n")[0]
    settings = {**load_yaml(path), "tasks_dirs": []}
    if bases := settings.get("bases"):
        settings["bases"] = {label: _last_parts(base, keys=("name",)) for label, base in bases.items()}
    return f"{first}\n{dump_yaml(_last_parts(settings, keys=('base', 'from_run', 'texts')))}"


def _last_parts(value: Any, *, keys: tuple[str, ...], is_path: bool = True) -> Any:
    """Return a plain value in which full paths that stand under these keys are their last parts."""
    if isinstance(value, dict):
        return {key: _last_parts(part, keys=keys, is_path=key in keys) for key, part in value.items()}
    if isinstance(value, list):
        return [_last_parts(part, keys=keys, is_path=is_path) for part in value]
    return Path(value).name if is_path and isinstance(value, str) and Path(value).is_absolute() else value
