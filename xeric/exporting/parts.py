"""What a run's method is made of, and what becomes of each part in an export: adapter, folded into the weights, or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xeric.bases.base import Base
from xeric.errors import RunError, UnknownNameError, UserError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, MethodOptions, attach_saved
from xeric.methods.combined import PartsOptions
from xeric.methods.peft_names import TUNERS
from xeric.run.adapter_files import SavedAdapter

__all__ = [
    "Division",
    "attached",
    "fold",
    "is_peft",
    "parts_of",
    "refuse_gates",
    "refuse_unmergeable",
    "remaining",
    "unmergeable",
]

_UNMERGEABLE = {
    "prefix": "a learned prefix is no change of the weights",
    "adaptive_prefix": "a prefix that depends on the input is no change of the weights",
    "picture": "vectors made of pictures are no change of the weights",
    "embedding": "fused embeddings depend on where a token stands, and no weight of the base does",
    "bottleneck": "a bottleneck adapter is non-linear, and no weights of the base compute the same",
}


@dataclass(frozen=True)
class Division:
    """What becomes of a method's parts.

    Attributes:
        adapter: the part that becomes the adapter; None where everything is folded into the weights.
        folded: the parts that are folded into the weights.
        left_out: the parts that are left out because the user allowed it.
    """

    adapter: str | None = None
    folded: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def parts_of(method: MethodOptions) -> dict[str, MethodOptions]:
    """Return options of a method's parts by name; a method that is not made of parts is its own only part."""
    return method.parts if isinstance(method, PartsOptions) else {method.name: method}


def remaining(method: MethodOptions, without: Sequence[str]) -> dict[str, MethodOptions]:
    """Return the parts of a method that are not to be left out.

    Raises:
        UnknownNameError: the method has no such part.
        UserError: it is not made of parts, or none would remain.
    """
    parts = parts_of(method)
    for name in without:
        if not isinstance(method, PartsOptions):
            raise UserError(f"the run's method is {method.name}, which has no parts to leave out", hint="omit --without")
        if name not in parts:
            raise UnknownNameError(f"part of the run's method {method.name}", name, parts)
    if not (kept := {name: options for name, options in parts.items() if name not in without}):
        raise UserError("every part of the run's method is left out", hint="leave out fewer with --without")
    return kept


def is_peft(name: str) -> bool:
    """Return whether a part is saved in the PEFT library's format."""
    return name == "lora" or name.removeprefix("peft:") in TUNERS


def unmergeable(parts: Mapping[str, MethodOptions]) -> list[str]:
    """Return the names of the parts that cannot be folded into a base's weights."""
    return [name for name, options in parts.items() if not METHODS.get(options.name).mergeable(options)]


def refuse_unmergeable(method: MethodOptions, parts: Mapping[str, MethodOptions]) -> None:
    """Check that all parts of a method can be folded into the base's weights.

    Raises:
        UserError: some cannot.
    """
    if isinstance(method, PartsOptions) and method.gate == "token":
        raise UserError("gates that depend on tokens cannot be merged into the base's weights", hint="use it by `xeric generate`")
    if not (stuck := unmergeable(parts)):
        return
    reasons = "; ".join(_UNMERGEABLE.get(name, f"PEFT cannot merge {name}") for name in stuck)
    hint = "use --to peft" if all(is_peft(name) or name == "prefix" for name in parts) else "use it by `xeric generate`"
    if len(stuck) < len(parts):
        hint = (
            f"leave {'them' if len(stuck) > 1 else 'it'} out with {_without(stuck)}; how far that changes the model is measured"
        )
    elif isinstance(method, PartsOptions):
        hint = "use it by `xeric generate`"
    raise UserError(f"{' and '.join(stuck)} cannot be merged into the base's weights: {reasons}", hint=hint)


def refuse_gates(method: MethodOptions, parts: Mapping[str, MethodOptions], target: str) -> None:
    """Check that a method has no gates, for a target whose format cannot express them.

    Args:
        method: of the run.
        parts: of it that are not left out.
        target: whose format it is.

    Raises:
        UserError: it has gates.
    """
    if isinstance(method, PartsOptions) and method.gate != "none":
        merges = method.gate == "scalar" and not unmergeable(parts)
        raise UserError(
            f"{target} has no place for the gates of a combined method",
            hint="use --to merged" if merges else "use it by `xeric generate`",
        )


def _without(names: Sequence[str]) -> str:
    return " ".join(f"--without {name}" for name in names)


def attached(saved: SavedAdapter, names: Sequence[str], base: Base) -> Adaptation:
    """Attach parts of a run's method to its base, as they were trained.

    Args:
        saved: the run's adaptation.
        names: of the parts; at least one.
        base: without a method, its stages applied.
    """
    method: Any = saved.method
    if isinstance(method, PartsOptions):
        method = method.model_copy(update={name: False for name in method.parts if name not in names})
    return attach_saved(base, method, saved.folder, saved.definitions)


def fold(saved: SavedAdapter, names: Sequence[str], base: Base) -> None:
    """Fold parts of a run's method into its base's weights.

    Raises:
        UserError: a part turns out to have no equal among the weights.
    """
    if not names:
        return
    try:
        attached(saved, names, base).merge()
    except RunError as error:
        raise UserError(error.what, hint="use --to peft") from None
