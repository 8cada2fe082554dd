"""Finds a base's folder in the Hugging Face layout; it is downloaded or converted first where necessary."""

from __future__ import annotations

import logging
import re
import textwrap
from pathlib import Path

from xeric.bases.named import NAMED_BASES
from xeric.bases.names import full_name
from xeric.bases.store import converted_folder, named_folder
from xeric.errors import DataError, UserError, XericError, suggest
from xeric.files import reading
from xeric.progress import Progress, Silent
from xeric.yaml_io import parse_yaml

__all__ = ["find_folder"]

_log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_NOT_BASES = {
    "adapted.json": "the adapter of a run",
    "adapter_config.json": "an adapter",
    "config.yaml": "the folder of a run",
    "stage.json": "a stage of a run",
    "study.yaml": "the folder of a study",
}
"""Files that identify a folder as something else than a base."""


def find_folder(name: str, progress: Progress | None = None) -> Path:
    """Return the folder of a base in the Hugging Face layout, downloaded or converted first; see :func:`load_base`."""
    _refuse_removed(name)
    progress = progress or _Logged()
    if name in NAMED_BASES:
        return named_folder(NAMED_BASES.get(name), progress)
    path = Path(full_name(name))
    with reading(path):
        is_folder = path.is_dir()
    if is_folder:
        _check_is_base(name, path)
        return path
    if path.is_file() and path.suffix.lower() == ".gguf":
        return converted_folder(path, progress)
    if path.exists():
        raise DataError(
            "is neither a folder nor a .gguf file", where=name, hint="give the folder that holds config.json and weights"
        )
    if path.suffix.lower() == ".gguf" or not _HUB_ID.fullmatch(name):
        raise DataError(
            "there is no such file or folder",
            where=name,
            hint=f"give a base's folder, a .gguf file, a hub id, or a name ({', '.join(NAMED_BASES.names())})",
        )
    return _download(name)


def _check_is_base(name: str, folder: Path) -> None:
    """Check that a folder is not one that Xeric or PEFT made for something else."""
    if (folder / "config.json").is_file():
        return
    for file, what in _NOT_BASES.items():
        if (folder / file).is_file():
            hint = "give the base that it was made of" + _named_in(folder / file)
            raise DataError(
                f"is {what}, not a base", where=name, hint=f"{hint}; a finished run answers by `xeric generate RUN_DIR`"
            )


def _named_in(file: Path) -> str:
    """Return the base that a run's or an adapter's file names, for a hint."""
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"), str(file))  # JSON is YAML, too
        base = content.get("base", content.get("base_model_name_or_path"))
        base = base["name"] if isinstance(base, dict) else base
    except (OSError, ValueError, AttributeError, KeyError, XericError):
        return ""
    return f" ({base})" if isinstance(base, str) else ""


class _Logged(Silent):
    """Puts remarks into the log, for callers that show no progress."""

    def note(self, text: str) -> None:
        """Log a remark."""
        _log.warning("%s", text)


def _refuse_removed(name: str) -> None:
    if name.startswith("bundled:"):
        raise UserError(
            f"the base {name!r} does not come with Xeric any more",
            hint="use gemma-3-270m (140 languages) or smollm2-135m (English)",
        )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.txt", "tokenizer.model", "*.jinja"]
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except Exception as error:  # noqa: BLE001 - the library raises whatever a broken file provokes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"is no folder here and could not be fetched from the model hub: {textwrap.shorten(reason, 200, placeholder=' ...')}",
            where=f"base {name!r}",
            hint=suggest(name, NAMED_BASES.names(), "base") + "; a local folder or a .gguf file will do, too",
        ) from None
