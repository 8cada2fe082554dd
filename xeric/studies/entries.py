"""The entries of a study file under ``bases``, ``methods`` and ``prompts``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from xeric.bases.names import BaseName
from xeric.config import Config, Seed
from xeric.data.prompt_options import Template, UntrainedSetting

__all__ = ["BaseEntry", "BasePrompt", "MethodEntry", "PromptEntry", "SearchConfig"]


class BasePrompt(Config):
    """Prompt settings of a base in all arms; None takes those of the ``run`` settings."""

    template: Template | None = None


class BaseEntry(Config):
    """An entry under ``bases`` in its long form; the short form is the name alone.

    Attributes:
        name: as ``--base`` takes it: a name, a ``.gguf`` file, a folder or a hub id.
        prompt: overrides the ``run`` and ``stage`` settings in all runs on this base.
    """

    name: BaseName
    prompt: BasePrompt = BasePrompt()


class MethodEntry(Config):
    """An entry under ``methods`` in its long form: with settings outside the method, or as a change of another entry.

    The short form is the method's options alone: ``{name: lora, rank: 8}``.

    Attributes:
        like: label of another entry whose settings, tuned ones included, this one takes over. An ablation is
            ``{like: combined, method: {prefix: false}}``: the same settings with one part removed.
        method: the method's name and options; they override those of ``like``.
        train: settings under ``train`` that belong to the method, such as ``weighting``.
        prompt: settings under ``prompt`` that make the arm a control: ``{definition: shuffled}`` (:mod:`xeric.data.controls`).
    """

    like: str | None = None
    method: dict[str, Any] = {}
    train: dict[str, Any] = {}
    prompt: dict[str, Any] = {}


class SearchConfig(Config):
    """A search for the tasks' definitions (:mod:`xeric.instructing`), scored on dev only, once for each base and task.

    Attributes:
        setting: ``few-shot`` or ``zero-shot``: the rows under which candidates are scored by the base as it is.
        candidates: scored by likelihood at most, the task's own definition among them.
        finalists: of the lowest loss that are decoded, beside the task's own; the highest chrF++ is chosen.
        seed: of edits and of the texts that the base samples.
    """

    setting: UntrainedSetting = "few-shot"
    candidates: int = Field(default=64, ge=2, le=100_000)
    finalists: int = Field(default=4, ge=1, le=1000)
    seed: Seed = 0


class PromptEntry(Config):
    """An entry under ``prompts``: what arms show instead of what the ``run`` settings say; training and data are the same.

    Attributes:
        prompt: settings under ``prompt``, such as ``{demonstration_choice: nearest}``; they override those of base and method.
        search: the definitions are searched for first, and the arms show what was found.
    """

    prompt: dict[str, Any] = {}
    search: SearchConfig | None = None
