"""Segments become token rows (:mod:`xeric.data.rows`), cut where the context is too short.

A row's tokens are ``[BOS] prefix | input target [EOS]``. Prefix and instance are tokenised apart, in training and in
decoding alike, so that the prefix is the same tokens for all instances of a task. For a prefix of 5 tokens, BOS
among them, an input of 4 and a target of 2::

    prefix row      ids    BOS  d  d  d  d              position 0..4
    instance row    ids    x  x  x  x  y  y  EOS        position 5..11, target_start = 4: loss on y y EOS

Plain text (a text stage) has neither task prefix nor input: a row is ``BOS | window``, every token of the window a target, and
the last window of a document ends with EOS.

Where each row has demonstrations of its own, they belong to the instance row (``d d d d x x x x y y EOS``), and the prefix row
ends with the definition.

Truncation (the target and EOS are never cut): a row that does not fit the context first loses demonstrations, last to
first, by moving to a shorter prefix row of its task; then the middle of its input. Each cut is counted. This module
knows a tokenizer only as a function from text to ids and never imports a model library.

An *opening* (ids in front of an instance's input, see :data:`xeric.data.rows.Openings`) belongs to the instance row, so that the
prefix row stays the same for all instances; its tokens have the segment kind of a learned prefix, and are never cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from xeric.data.prompts import Prompt, Segment
from xeric.data.rows import NO_OPENINGS, SEGMENT_KINDS, EncodedTask, InstanceRow, Openings, PrefixRow
from xeric.errors import ConfigError, DataError

__all__ = ["Encoder", "Tokenize"]

Tokenize = Callable[[str, bool], list[int]]
"""``(text, special) -> ids`` without BOS or EOS; only where ``special`` is true may the text spell special tokens."""

_KIND = {kind: number for number, kind in enumerate(SEGMENT_KINDS)}

# The least of an input that is left when its middle is cut; a definition that leaves less room is refused.
_LEAST_INPUT = 8


@dataclass(frozen=True)
class Encoder:
    """Makes the rows of tasks for one base.

    Attributes:
        tokenize: the base's tokenizer.
        bos: its BOS token, or None where it has none.
        eos: the tokens that end its texts; the first closes a target unless a chat template closes with another of them.
        context: how many tokens a row may have, prefix included (a learned prompt prefix is taken off by the caller).
        begun: whether a learned prompt prefix before the rows began as the BOS token: then they have none of their own, not even
            where a chat template writes it.
        input_end: tokens that end the input, where the base reads the prompt as a text of its own.
        target_context: how many tokens a target may have where it stands in a row of its own (a decoder's); then ``context`` is
            the prompt's. None where both stand in one row.
    """

    tokenize: Tokenize
    bos: int | None
    eos: tuple[int, ...]
    context: int
    begun: bool = False
    input_end: tuple[int, ...] = ()
    target_context: int | None = None

    def training_rows(
        self, prompt: Prompt, pairs: Iterable[tuple[str, str, str]], openings: Openings = NO_OPENINGS
    ) -> EncodedTask:
        """Return rows with targets.

        Args:
            prompt: the task's layout.
            pairs: ``(id, input, output)`` of each instance. An instance whose target leaves no room for its input is
                dropped and counted.
            openings: of the instances that have one.

        Raises:
            DataError: the definition alone leaves no room in the context.
        """
        end = self._end(prompt)
        targets = [
            (id_, text, [*self._segment(Segment("target", prompt.before_target + output)), end]) for id_, text, output in pairs
        ]
        return self._encode(prompt, targets, openings)

    def decoding_rows(
        self, prompt: Prompt, inputs: Iterable[tuple[str, str]], reserve: int, openings: Openings = NO_OPENINGS
    ) -> EncodedTask:
        """Return rows without targets that leave room for ``reserve`` new tokens.

        Args:
            prompt: the task's layout.
            inputs: ``(id, input)`` of each instance.
            reserve: how many tokens decoding may add.
            openings: of the instances that have one.

        Raises:
            DataError: definition and reserve leave no room in the context.
        """
        return self._encode(prompt, [(id_, text, []) for id_, text in inputs], openings, reserve)

    def text_rows(self, name: str, documents: Iterable[tuple[str, str]], window: int) -> EncodedTask:
        """Return rows of plain text: each token of each document, and the EOS behind it, is a target of exactly one row.

        A row holds tokens of one document. Before them stands BOS or, where the base has none, the EOS that parts documents in
        pretraining: the first token is predicted from it, so it stays even where a learned prefix begins with BOS. A document of
        more than ``window`` tokens is cut into windows of equal length, to a token: no row is a short rest.

        Args:
            name: stands where rows of a task have its name.
            documents: ``(id, text)`` of each.
            window: targets of a row, at most; also at most what the context holds beside the first token.

        Raises:
            ConfigError: the base reads its prompts in both directions, so it predicts no text from its beginning.
        """
        if self.input_end or self.target_context is not None:
            raise ConfigError(
                "only causal bases are trained on plain text: this one reads a prompt in both directions",
                where="stages",
                hint="leave the stage out, or take a causal base",
            )
        first = self.eos[0] if self.bos is None else self.bos
        window = min(window, self.context - 1)
        rows = []
        for id_, text in documents:
            tokens = (*self.tokenize(text, False), self.eos[0])
            count = -(-len(tokens) // window)
            edges = [number * len(tokens) // count for number in range(count + 1)]
            for start, end in pairwise(edges):
                kinds = (_KIND["instruction"], *[_KIND["target"]] * (end - start))
                rows.append(InstanceRow(f"{id_}@{start}", 0, (first, *tokens[start:end]), kinds, 1))
        return EncodedTask(name, (PrefixRow(name, (), (), 0),), tuple(rows))

    def target_length(self, prompt: Prompt, output: str) -> int:
        """Return the number of tokens of an output as a target, EOS included."""
        return len(self._segment(Segment("target", prompt.before_target + output))) + 1

    def _segment(self, segment: Segment) -> list[int]:
        return self.tokenize(segment.text, segment.special) if segment.text else []

    def _end(self, prompt: Prompt) -> int:
        closing = self.tokenize(prompt.closing, True) if prompt.closing else []
        return next((token for token in closing if token in self.eos), self.eos[0])

    def _prefix_rows(self, prompt: Prompt) -> tuple[PrefixRow, ...]:
        rows = []
        for count, segments in enumerate(prompt.prefixes):
            first = (self.bos,) if prompt.begin and self.bos is not None else ()
            tokens, token_kinds = self._tokens(segments)
            ids, kinds = (*first, *tokens), (*[_KIND["instruction"]] * len(first), *token_kinds)
            own = 1 if self.begun and ids[:1] == (self.bos,) else 0
            rows.append(PrefixRow(prompt.task, ids[own:], kinds[own:], count))
        return tuple(rows)

    def _encode(
        self, prompt: Prompt, rows: Sequence[tuple[str, str, list[int]]], openings: Openings, reserve: int = 0
    ) -> EncodedTask:
        prefixes = self._prefix_rows(prompt)
        before, after = self._segment(prompt.before_input), [*self._segment(prompt.after_input), *self.input_end]
        frame = len(before) + len(after) + max(map(len, openings.values()), default=0)
        # What a chat template puts between the definition and an input without demonstrations.
        beginning = self._tokens(prompt.retrieved.layouts[0])[0] if prompt.retrieved else ()
        least = len(prefixes[0].ids) + len(beginning) + frame + _LEAST_INPUT
        self._check_room(prompt, prefixes[0], least, reserve)
        cuts: Counter[str] = Counter()
        encoded: list[InstanceRow] = []
        for id_, text, target in rows:
            tokens = self._segment(Segment("input", prompt.before_text + text))
            # Tokens that input and target take from the same context.
            tail = len(target) + reserve if self.target_context is None else 0
            too_long = self.target_context is not None and len(target) > self.target_context
            if too_long or least - _LEAST_INPUT + min(_LEAST_INPUT, len(tokens)) + tail > self.context:
                cuts["target_too_long"] += 1
                continue
            room = self.context - frame - tail
            leads = self._leads(prompt, text, prefixes)
            chosen = _longest_fitting([lead.length for lead in leads], room - len(tokens))
            cuts["demonstrations"] += chosen < len(leads) - 1
            lead = leads[chosen]
            room -= lead.length
            cuts["input"] += len(tokens) > room
            opening = openings.get(id_, ())
            words = [*before, *_cut_middle(tokens, room), *after]
            ids = [*lead.ids, *opening, *words]
            own = [_KIND["prefix"]] * len(opening) + [_KIND["input"]] * len(words)
            kinds = (*lead.kinds, *own, *[_KIND["target"]] * len(target))
            encoded.append(InstanceRow(id_, lead.prefix, (*ids, *target), kinds, len(ids)))
        indent = prompt.before_target if prompt.keep_indentation else None
        return EncodedTask(prompt.task, prefixes, tuple(encoded), {k: v for k, v in sorted(cuts.items()) if v}, indent)

    def _leads(self, prompt: Prompt, text: str, prefixes: Sequence[PrefixRow]) -> list[_Lead]:
        """Return what may stand before an input, by number of demonstrations."""
        if prompt.retrieved is None:
            return [_Lead(number, (), (), len(prefix.ids)) for number, prefix in enumerate(prefixes)]
        shared = len(prefixes[0].ids)
        tokens = map(self._tokens, prompt.retrieved.segments(text))
        return [_Lead(0, ids, kinds, shared + len(ids)) for ids, kinds in tokens]

    def _tokens(self, segments: Iterable[Segment]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the token ids of segments, each tokenised by itself, and the kind of each token."""
        parts = [(self._segment(segment), _KIND[segment.kind]) for segment in segments]
        return tuple(i for ids, _ in parts for i in ids), tuple(kind for ids, kind in parts for _ in ids)

    def _check_room(self, prompt: Prompt, shortest: PrefixRow, least: int, reserve: int) -> None:
        """Check that an input fits beside the definition, and that new tokens fit.

        Raises:
            DataError: they do not.
        """
        joint = self.target_context is None
        if self.target_context is not None and reserve > self.target_context:
            raise DataError(
                f"{reserve} new tokens are more than the {self.target_context} that the base's decoder has room for",
                hint="lower decode.max_new_tokens",
            )
        if least + (max(reserve, 1) if joint else 0) <= self.context:
            return
        reserve = reserve if joint else 0
        new, lower = (f" and {reserve} new ones", "lower decode.max_new_tokens, ") if reserve else ("", "")
        raise DataError(
            f"the definition of task {prompt.task!r} takes {len(shortest.ids)} tokens; beside them{new}, a context of "
            f"{self.context} has no room for an input",
            hint=f"{lower}shorten the definition, set prompt.definition=false, or take a base with a longer context",
        )


class _Lead(NamedTuple):
    """What stands before an input.

    Attributes:
        prefix: index of the prefix row.
        ids: tokens of the row's own demonstrations behind it.
        kinds: segment kind of each.
        length: tokens of both.
    """

    prefix: int
    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    length: int


def _longest_fitting(lengths: Sequence[int], room: int) -> int:
    """Return the largest number of demonstrations that fits ``room`` tokens, or 0 where none does.

    Args:
        lengths: of the tokens before an input, by number of demonstrations.
        room: tokens.
    """
    return max((count for count, length in enumerate(lengths) if length <= room), default=0)


def _cut_middle(tokens: list[int], room: int) -> list[int]:
    """Return ``tokens`` shortened to ``room`` by taking out its middle; the head keeps the odd one."""
    if len(tokens) <= room:
        return tokens
    tail = room // 2
    return tokens[: room - tail] + (tokens[-tail:] if tail else [])
