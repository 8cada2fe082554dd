r"""Prompt layouts: a task and an instance become segments of text.

A row is the paper's ``[CLS] I_j [SEP] D_j [SEP] | x_i [SEP] y_i [EOS]``. Everything left of the bar is the same for
all instances of a task and is called the *task prefix*; the shared-prefix engine computes it once per micro-batch. This
module knows nothing about tokens; :mod:`xeric.data.encoding` makes them.

The plain layout of one row, one line per segment (``{}`` marks what is filled in)::

    instruction     {definition}\n\n
    demonstration   Input: {x}\nOutput: {y}\n\n            (k times)
    input           Input: {x}\nOutput:
    target           {y}                                  (with its leading space)

The separators are plain text because a new, never trained token would cripple an untrained model. A base with a chat template can
use it instead (``template: chat``), and an instruction-tuned one does so by itself where nothing is trained (``auto``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import regex

from xeric.data.demonstrations import NearestExamples, Similarity
from xeric.data.prompt_options import PromptOptions
from xeric.data.rows import SegmentKind
from xeric.data.tasks import Example, Task
from xeric.errors import ConfigError

__all__ = [
    "ChatRenderer",
    "Prompt",
    "RetrievedDemonstrations",
    "Segment",
    "build_prompt",
    "paraphrased",
]

# Stands for text number i while a chat template is rendered; private-use characters that no cleaned text holds.
_MARK = "\ue0f0{}\ue0f1"
_MARKS = regex.compile("\ue0f0([0-9]+)\ue0f1")

ChatRenderer = Callable[[list[dict[str, str]], bool], str]
"""Renders chat messages (``role``, ``content``) to text; the flag asks for the opening of the assistant's turn."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a row: its kind, its text, and whether the text may hold special tokens (only a chat template's own may)."""

    kind: SegmentKind
    text: str
    special: bool = False


@dataclass(frozen=True)
class RetrievedDemonstrations:
    """Demonstrations that each instance has of its own: the examples whose inputs are most like its input.

    Attributes:
        examples: to choose from; none of them is a dev or test instance.
        similarity: by what inputs are compared.
        layouts: what stands between the task prefix and the instance, by number of demonstrations; inputs and outputs are marks,
            numbered in their order.
    """

    examples: tuple[Example, ...]
    similarity: Similarity
    layouts: tuple[tuple[Segment, ...], ...]

    def segments(self, text: str) -> list[list[Segment]]:
        """Return what stands before an input, by number of demonstrations (0, 1, ... k), the most similar one next to it."""
        shown = self._nearest.nearest(text, len(self.layouts) - 1)
        rows = []
        for count, layout in enumerate(self.layouts[: len(shown) + 1]):
            texts = [side for example in shown[len(shown) - count :] for side in (example.input, example.output)]
            rows.append([replace(segment, text=_filled(segment.text, texts)) for segment in layout])
        return rows

    @functools.cached_property
    def _nearest(self) -> NearestExamples:
        return NearestExamples(self.examples, self.similarity)


def _filled(text: str, texts: Sequence[str]) -> str:
    return str(_MARKS.sub(lambda mark: texts[int(mark[1])], text))


@dataclass(frozen=True)
class Prompt:
    """The layout of one task: everything needed to turn its instances into rows, and nothing else of the task.

    Attributes:
        task: name of the task.
        prefixes: the task prefix with 0, 1, ... k demonstrations; the last is the one asked for, the shorter ones serve rows
            that would not fit the context.
        before_input: what stands between the task prefix and the instance's input; nothing in a chat layout, where a turn
            after a demonstration opens otherwise than the first one does, so that the opening belongs to the prefix.
        after_input: what stands between input and target.
        before_text: white space that opens the input's text, and
        before_target: that opens the target: a space in the plain layout, where words begin with one and are tokenised with it.
        closing: text that a chat template puts after an answer; "" in the plain layout.
        begin: whether rows begin with the base's BOS token (a chat template writes its own).
        stop: where a text has gone on past its answer: what opens the next instance or repeats the frame of this one, at the
            beginning of a line (the plain layout), or what ends a turn (a chat template). An answer may hold anything else,
            blank lines too.
        keep_indentation: the form that the texts of these rows have, and that of every text they are used for: whether blanks at
            the start of a line stay (:func:`xeric.data.cleaning.one_form`), the first line of an answer included.
        retrieved: demonstrations that each row has of its own, behind the task prefix; None where all rows show the same.
    """

    task: str
    prefixes: tuple[tuple[Segment, ...], ...]
    before_input: Segment
    after_input: Segment
    before_text: str
    before_target: str
    closing: str = ""
    begin: bool = True
    stop: tuple[str, ...] = ()
    keep_indentation: bool = False
    retrieved: RetrievedDemonstrations | None = None

    @property
    def demonstrations(self) -> int:
        """Number of demonstrations that a row shows, if they fit."""
        return len(self.prefixes if self.retrieved is None else self.retrieved.layouts) - 1


def build_prompt(
    task: Task,
    demonstrations: Sequence[Example],
    options: PromptOptions,
    *,
    render_chat: ChatRenderer | None = None,
    keep_indentation: bool = False,
    retrievable: Sequence[Example] = (),
) -> Prompt:
    """Return the layout of a task's rows.

    Args:
        task: the task.
        demonstrations: the demonstrations chosen.
        options: how to lay out; ``template: auto`` is for the caller to settle, and plain if it does not.
        render_chat: the base's chat template; required for ``template: chat``.
        keep_indentation: the form of the task's texts, as :class:`Prompt` has it.
        retrievable: what demonstrations are chosen from where each row has its own.

    Raises:
        ConfigError: a chat layout is asked for and the base has no template, or the template does not keep a message's text.
    """
    definition = task.definition if options.definition else ""
    pairs = [(d.input, d.output) for d in demonstrations]
    if options.retrieves:
        pairs = [(_MARK.format(2 * n), _MARK.format(2 * n + 1)) for n in range(options.demonstration_count)]
    if options.template != "chat":
        prompt = _plain_prompt(task.name, definition, pairs)
    elif render_chat is None:
        raise ConfigError("the base has no chat template", where="prompt.template", hint="use prompt.template=plain")
    else:
        prompt = _chat_prompt(task.name, definition, pairs, render_chat)
    if options.retrieves:
        shared, layouts = _shared_segments(prompt.prefixes)
        retrieved = RetrievedDemonstrations(tuple(retrievable), options.demonstration_similarity, layouts)
        prompt = replace(prompt, prefixes=(shared,), retrieved=retrieved)
    return replace(prompt, keep_indentation=keep_indentation)


def _shared_segments(prefixes: Sequence[tuple[Segment, ...]]) -> tuple[tuple[Segment, ...], tuple[tuple[Segment, ...], ...]]:
    """Return the segments that all task prefixes begin with, and what each of them has behind these."""
    count = 0
    while all(len(prefix) > count and prefix[count] == prefixes[0][count] for prefix in prefixes):
        count += 1
    return prefixes[0][:count], tuple(prefix[count:] for prefix in prefixes)


def paraphrased(prompt: Prompt, definition: str, paraphrase: str) -> Prompt:
    """Return a task's layout with other words in the place of its definition, and all else as it is.

    Args:
        prompt: of :func:`build_prompt`; one that does not show the definition stays as it is.
        definition: of the task, as the layout shows it.
        paraphrase: what takes its place.
    """

    def changed(segment: Segment) -> Segment:
        own = segment.kind == "instruction" and not segment.special and segment.text.startswith(definition)
        return replace(segment, text=paraphrase + segment.text.removeprefix(definition)) if own else segment

    return replace(prompt, prefixes=tuple(tuple(map(changed, segments)) for segments in prompt.prefixes))


def _plain_prompt(name: str, definition: str, pairs: list[tuple[str, str]]) -> Prompt:
    instruction = [Segment("instruction", f"{definition}\n\n")] if definition else []
    shown = [Segment("demonstration", f"Input: {x}\nOutput: {y}\n\n") for x, y in pairs]
    prefixes = tuple((*instruction, *shown[:k]) for k in range(len(pairs) + 1))
    before, after = Segment("input", "Input:"), Segment("input", "\nOutput:")
    stop = (f"\n{before.text}", after.text)
    return Prompt(name, prefixes, before, after, before_text=" ", before_target=" ", stop=stop)


def _chat_prompt(name: str, definition: str, pairs: list[tuple[str, str]], render: ChatRenderer) -> Prompt:
    """Lay out a chat: the definition opens the first user turn, each demonstration is a user turn and its answer."""
    rows = [_render_parts(definition, pairs[:k], render) for k in range(len(pairs) + 1)]
    after = rows[-1][-1]
    if any(row[-1] != after for row in rows):
        raise _unusable_template("ends a turn in more than one way")
    lead, closing = _around_answer(render)
    # White space goes with the answer's first word; anything else (an empty thinking block) is the template's to write.
    only_blanks = not lead.strip()
    return Prompt(
        name,
        prefixes=tuple(tuple(row[:-2]) for row in rows),
        before_input=Segment("input", ""),
        after_input=after if only_blanks else replace(after, text=after.text + lead),
        before_text="",
        before_target=lead if only_blanks else "",
        closing=closing,
        begin=False,
        # What comes behind the end of a turn (a line break, an end-of-text token after the last one) says nothing more.
        stop=tuple(closing.split()[:1]),
    )


def _render_parts(definition: str, pairs: list[tuple[str, str]], render: ChatRenderer) -> list[Segment]:
    """Return the segments of a rendered chat; the last two are the (empty) input and what follows it.

    Every text is replaced by a mark, the template rendered once, and the result taken apart at the marks: any
    template that keeps a message's text works, and a text that spells a special token stays plain text.
    """
    contents: list[Segment] = [Segment("instruction", definition)] if definition else []
    messages: list[dict[str, str]] = []
    for x, y in [*pairs, ("", None)]:
        lead = f"{_MARK.format(0)}\n\n" if definition and not messages else ""
        contents.append(Segment("input" if y is None else "demonstration", x))
        messages.append({"role": "user", "content": lead + _MARK.format(len(contents) - 1)})
        if y is not None:
            contents.append(Segment("demonstration", y))
            messages.append({"role": "assistant", "content": _MARK.format(len(contents) - 1)})
    pieces = _MARKS.split(render(messages, True))
    if [int(i) for i in pieces[1::2]] != list(range(len(contents))):
        raise _unusable_template("does not keep every message's text")
    segments: list[Segment] = []
    for text, content in zip(pieces[0::2], contents, strict=False):
        segments += [Segment(content.kind, text, special=True), content]
    return [*segments, Segment("input", pieces[-1], special=True)]


def _around_answer(render: ChatRenderer) -> tuple[str, str]:
    """Return what the template puts between the opening of the assistant's turn and an answer, and what after the answer."""
    question = {"role": "user", "content": "?"}
    opening = render([question], True)
    before, mark, closing = render([question, {"role": "assistant", "content": _MARK.format(0)}], False).rpartition(
        _MARK.format(0)
    )
    if not mark:
        raise _unusable_template("does not keep every message's text")
    return (before.removeprefix(opening) if before.startswith(opening) else ""), closing


def _unusable_template(what: str) -> ConfigError:
    return ConfigError(f"the base's chat template {what}", where="prompt.template", hint="use prompt.template=plain")
