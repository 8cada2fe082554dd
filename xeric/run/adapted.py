"""A trained method on its base: opened from a run's folder, and used to generate texts.

:mod:`xeric.run.adapter_files` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from xeric.bases.base import Base
from xeric.bases.finding import find_folder
from xeric.bases.loading import load_base
from xeric.bases.precision import PrecisionName
from xeric.data.pictures import Picture
from xeric.data.prompts import Prompt, paraphrased
from xeric.data.rows import cut_note
from xeric.data.text_form import one_form
from xeric.decoding import DecodeOptions, decode
from xeric.encodings import check_text, nfc
from xeric.errors import DataError, UnknownNameError, UserError
from xeric.files import expanded
from xeric.methods.base import Adaptation, attach_saved
from xeric.run.adapter_files import SavedAdapter, read_adapter
from xeric.run.stage_training import restored

__all__ = ["Adapted", "adapted_on", "open_adapted", "open_base_of"]


@dataclass(frozen=True)
class Adapted:
    """A base with a trained method on it, ready to generate.

    Attributes:
        base: the base, the method attached.
        adaptation: the method's trained parts.
        prompts: layout of each task it was trained on, by name.
        definitions: of these tasks, as the layouts show them.
        max_new_tokens: limit of a generated text.
        options: how the run decoded.
        seed: of sampling.
        notes: why its texts may differ from those of the run, where they may.
    """

    base: Base
    adaptation: Adaptation
    prompts: dict[str, Prompt]
    definitions: dict[str, str]
    max_new_tokens: int
    options: DecodeOptions
    seed: int
    notes: tuple[str, ...] = ()

    def paraphrased(self, paraphrases: Mapping[str, str]) -> Adapted:
        """Return the same model, with paraphrases in place of the definitions of its tasks in its prompts.

        Trained parameters that were initialised from a definition (a learned prefix) do not change.

        Args:
            paraphrases: by task; a task that is not named keeps its definition.

        Raises:
            UnknownNameError: no such task in this run.
        """
        for name in paraphrases:
            self._check_task(name)
        changed = {name: paraphrased(self.prompts[name], self.definitions[name], text) for name, text in paraphrases.items()}
        return replace(self, prompts=self.prompts | changed)

    def generate(
        self,
        inputs: Sequence[str],
        *,
        pictures: Sequence[Picture | None] = (),
        task: str | None = None,
        max_new_tokens: int | None = None,
        note: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Return the text generated for each input, brought into the form that training data were brought into.

        Args:
            inputs: texts.
            pictures: of the inputs (:func:`xeric.data.pictures.read_picture`), None for one without; empty for none at all.
            task: which task's prompt to use; needed only where there are several.
            max_new_tokens: replaces the run's own limit.
            note: is told what the user should know: how many inputs are cut to fit the base's context.

        Raises:
            UnknownNameError: no such task in this run.
            UserError: the run has several tasks and none is named, or there are pictures and its method looks at none.
            DataError: an input is not text, or a picture cannot be read.
        """
        for number, text in enumerate(inputs):
            check_text(text, f"input {number + 1}")
        name = self.task_named(task)
        keep = self.prompts[name].keep_indentation
        formed = [one_form(text, keep_indentation=keep) for text in inputs]
        return self.answer(formed, name, pictures=pictures, max_new_tokens=max_new_tokens, note=note)

    def stream(
        self,
        inputs: Iterable[str],
        *,
        task: str | None = None,
        max_new_tokens: int | None = None,
        note: Callable[[str], None] | None = None,
    ) -> Iterator[str]:
        """Yield the text generated for each input as soon as it is finished, before the next input is asked for.

        Each input is computed by itself, so its text does not depend on its neighbours, nor on which inputs came before; many
        inputs at once are faster with :meth:`generate`. The inputs may be endless.

        Args:
            inputs: texts.
            task: as in :meth:`generate`.
            max_new_tokens: likewise.
            note: likewise; is told of each input that is cut.

        Raises:
            UserError: as :meth:`generate` does, at the call.
            DataError: an input is not text, when it is reached.
        """
        name = self.task_named(task)

        def texts() -> Iterator[str]:
            for number, text in enumerate(inputs, 1):
                check_text(text, f"input {number}")
                yield from self.generate([text], task=name, max_new_tokens=max_new_tokens, note=note)

        return texts()

    def task_named(self, task: str | None) -> str:
        """Return the name of a task of this run; None names the only one.

        Raises:
            UnknownNameError: no such task in this run.
            UserError: the run has several tasks and none is named.
        """
        if task is None and len(self.prompts) > 1:
            raise UserError(f"the run has {len(self.prompts)} tasks", hint="name one with --task: " + ", ".join(self.prompts))
        name = nfc(task) if task is not None else next(iter(self.prompts))
        self._check_task(name)
        return name

    def answer(
        self,
        inputs: Sequence[str],
        task: str,
        *,
        pictures: Sequence[Picture | None] = (),
        max_new_tokens: int | None = None,
        shared: bool = True,
        progress: Callable[[int], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Return the text generated for each input, taken as it is.

        Args:
            inputs: texts in the form that training data were brought into.
            task: whose prompt to use.
            pictures: as in :meth:`generate`.
            max_new_tokens: replaces the run's own limit.
            shared: as in :func:`xeric.decoding.decode`.
            progress: is called with the number of texts finished since the last call.
            note: as in :meth:`generate`.

        Raises:
            DataError: the task's definition leaves no room in the base's context.
            UnknownNameError: no such task in this run.
            UserError: there are pictures, and the run's method looks at none.
        """
        self._check_task(task)
        limit = max_new_tokens or self.max_new_tokens
        if any(pictures) and self.base.instance_vectors is None:
            raise UserError("this run's method looks at no pictures", hint="train with the method picture")
        rows = [(str(number), text) for number, text in enumerate(inputs)]
        openings = self.base.openings({str(number): picture for number, picture in enumerate(pictures)})
        encoded = self.base.encoder(task).decoding_rows(self.prompts[task], rows, limit, openings)
        if note and (cut := cut_note(encoded.cuts, len(rows), "inputs", self.base.context)):
            note(f"{task}: {cut}")
        return decode(self.base, encoded, self.options, max_new_tokens=limit, seed=self.seed, shared=shared, progress=progress)

    def _check_task(self, name: str) -> None:
        if name not in self.prompts:
            raise UnknownNameError("task", name, self.prompts)


def open_adapted(
    folder: str | Path, *, base: str | None = None, device: str = "auto", precision: PrecisionName | None = None
) -> Adapted:
    """Open the adaptation of a finished run.

    Args:
        folder: a run's folder.
        base: where the base is now; None is where it was when the run was made.
        device: as in :func:`xeric.bases.loading.load_base`.
        precision: likewise; None is the run's own. Texts may then differ from the run's (:attr:`Adapted.notes`).

    Raises:
        DataError: the folder holds no finished run, or the base there now has other weights.
        UserError: the device cannot do the precision.
    """
    saved = read_adapter(expanded(folder))
    return _put_on(saved, open_base_of(saved, base, device=device, precision=precision or saved.precision))


def open_base_of(saved: SavedAdapter, base: str | None, *, device: str, precision: PrecisionName) -> Base:
    """Open the base of a run, as it was before the run's stages.

    Args:
        saved: the run's adaptation.
        base: where the base is now; None is where it was when the run was made.
        device: as in :func:`xeric.bases.loading.load_base`.
        precision: likewise.

    Raises:
        DataError: the base is not there, or has other weights than the run's.
    """
    try:
        find_folder(base or saved.base)
    except UserError as error:
        if base is not None:
            raise
        hint = "say where it is now with --base (base= in Python)"
        raise DataError(f"the run's base is not there: {error.what}", where=saved.base, hint=hint) from None
    opened = load_base(base or saved.base, device=device, precision=precision)
    saved.check_base(opened)
    return opened


@contextmanager
def adapted_on(folder: Path, base: Base) -> Iterator[Adapted]:
    """Put the adaptation of a finished run on a base that is open already; afterwards the base is as it was found.

    Args:
        folder: a run's folder.
        base: the run's own, without a method.

    Raises:
        DataError: the folder holds no finished run, or the base has other weights than the run's.
    """
    saved = read_adapter(folder)
    saved.check_base(base)
    with restored(base, needed=bool(saved.stages)):
        adapted = _put_on(saved, base)
        try:
            yield adapted
        finally:
            adapted.adaptation.detach()


def _put_on(saved: SavedAdapter, base: Base) -> Adapted:
    """Attach the adaptation, and the stages before it, to its base."""
    for stage in saved.stages:
        stage.apply(base)
    return Adapted(
        base=base,
        adaptation=attach_saved(base, saved.method, saved.folder, saved.definitions),
        prompts=saved.prompts,
        definitions=saved.definitions,
        max_new_tokens=saved.max_new_tokens,
        options=saved.options,
        seed=saved.seed,
        notes=tuple(_differences(saved, base)),
    )


def _differences(saved: SavedAdapter, base: Base) -> Iterator[str]:
    """Yield why texts may differ from those of the run."""
    # Adaptations that earlier versions saved do not name their device.
    then, now = (saved.precision, saved.device or base.device.type), (base.precision, base.device.type)
    if then != now:
        computed_then, computed_now = (f"in {precision} on {device}" for precision, device in (then, now))
        yield f"texts may differ from the run's: it was computed {computed_then}, and this is computed {computed_now}"
    elif base.precision != "fp32":
        yield (
            f"texts may differ from the run's where two words are nearly as likely: in {base.precision} rounding depends on "
            "which inputs are computed together"
        )
