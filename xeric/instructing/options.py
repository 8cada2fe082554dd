"""Settings of a search for a definition and demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from xeric.config import Config, Seed, build
from xeric.data.preparing import DataOptions
from xeric.data.prompt_options import PromptOptions
from xeric.decoding import DecodeOptions
from xeric.errors import ConfigError

__all__ = ["InstructOptions", "instruct_options"]


class InstructOptions(Config):
    """What is searched, how much of it, and how candidates are laid out and decoded.

    Attributes:
        search: the ``definition``, the choice and order of the ``demonstrations``, or ``both``.
        candidates: scored at most, the task's own among them.
        seconds: of wall clock after which no new candidate is made; None for no limit. With a limit the result depends on the
            speed of the machine.
        finalists: candidates of the lowest loss that are decoded, beside the task's own.
        seed: of edits and of the texts that the base samples.
        proposer: address of an OpenAI-compatible server (``http://localhost:8080/v1``) that is asked for definitions; None asks
            the base alone.
        proposer_model: the model's name there; None is the first that the server lists.
        batch_size: rows computed at once.
        data: as in a run; candidates are scored on its dev set.
        prompt: as in a run; ``few-shot`` unless another setting is given.
        decode: as in a run.
    """

    search: Literal["definition", "demonstrations", "both"] = "definition"
    candidates: int = Field(default=64, ge=2, le=100_000)
    seconds: float | None = Field(default=None, gt=0, le=1e9)
    finalists: int = Field(default=4, ge=1, le=1000)
    seed: Seed = 0
    proposer: str | None = None
    proposer_model: str | None = None
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    data: DataOptions = DataOptions()
    prompt: PromptOptions = PromptOptions(setting="few-shot")
    decode: DecodeOptions = DecodeOptions()


def instruct_options(settings: Mapping[str, Any]) -> InstructOptions:
    """Return checked settings; the prompt's setting is ``few-shot`` unless one is given.

    Args:
        settings: plain values, as from dotted overrides.

    Raises:
        ConfigError: a setting is unknown, ill-typed, or does not fit the others.
    """
    if isinstance(prompt := settings.get("prompt", {}), Mapping):
        settings = {**settings, "prompt": {"setting": "few-shot", **prompt}}
    options = build(InstructOptions, settings)
    _check(options)
    return options


def _check(options: InstructOptions) -> None:
    """Check that settings fit together.

    Raises:
        ConfigError: the prompt shows no definition of its own, or no demonstrations where these are searched.
    """
    prompt = options.prompt
    if prompt.definition is not True or prompt.demonstration_outputs != "own":
        where = "prompt.definition" if prompt.definition is not True else "prompt.demonstration_outputs"
        raise ConfigError("is a control, and a search starts from the task's own prompt", where=where, hint="leave it out")
    if prompt.retrieves:
        what = "gives each row demonstrations of its own, and a search is for one prompt of all"
        raise ConfigError(what, where="prompt.demonstration_choice", hint="leave it out")
    if options.search != "definition" and not prompt.demonstration_count:
        hint = "use --setting few-shot, or --search definition"
        raise ConfigError("searches demonstrations, and the prompt shows none", where="search", hint=hint)
    if options.search != "definition" and prompt.demonstration_seed is not None:
        raise ConfigError("draws the demonstrations that are searched", where="prompt.demonstration_seed", hint="leave it out")
    if options.proposer is not None and options.search == "demonstrations":
        raise ConfigError("proposes definitions, and only demonstrations are searched", where="proposer", hint="leave it out")
