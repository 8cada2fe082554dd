"""Instances of a task that repeat each other, nearly repeat each other, or belong together.

1. *Duplicates*. The same input and outputs, or a demonstration again: dropped. The same input with other outputs: merged into
   one instance with several references, as Natural Instructions has it; apart, one row's answer could stand in training while
   the other is tested, and one answer would be scored twice as if independent. Nearly the same input and output, and no number
   changed: dropped; where the output is too short to tell ("yes"), only if the input has the same words.
2. *Clusters*: what is alike (input and output together) or shares an input, a long output, a picture or a group. A split keeps a
   cluster on one side.

An input with a picture is the same as another where both text and picture are.

Near-duplicates (Broder 1997) are pairs by the Jaccard similarity of their shingles. MinHash and locality-sensitive hashing
propose pairs, the exact similarity decides: a pair can be missed (one in 7,000 at similarity 0.7), but none is invented.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import regex
from rapidfuzz.distance import Levenshtein

from xeric.data.shingles import MIN_DISTINCTIVE, Hashes, Unit, comparable, fold, jaccard, shingles
from xeric.data.tasks import Example, Instance

__all__ = ["MERGED", "Deduplicated", "deduplicate", "merged_note", "near_pairs", "plain", "same_texts"]

MERGED = "same_input"
"""Reason of an instance that is not kept because its outputs are references of another of the same input."""

# A number with the sign or operator before it: what changes an answer though hardly a word is changed.
_NUMBER = regex.compile(r"[-+*/=<>^]?\s?\p{N}+")

_PERMUTATIONS, _BANDS, _ROWS = 128, 32, 4


@dataclass(frozen=True)
class Deduplicated:
    """What :func:`deduplicate` returns.

    Attributes:
        instances: those kept, merged where asked, in an order that depends on content alone.
        labels: for each of them, the number of its cluster.
        pinned: the clusters that a demonstration belongs to.
        repeats: reason and detail by id, for those not kept; :data:`MERGED` where their outputs are.
        notes: sentences for the user.
    """

    instances: tuple[Instance, ...]
    labels: tuple[int, ...]
    pinned: frozenset[int]
    repeats: dict[str, tuple[str, str]]
    notes: tuple[str, ...]


def deduplicate(
    instances: Sequence[Instance],
    demonstrations: Sequence[Example] = (),
    *,
    exact: bool = True,
    merge: bool = True,
    near: float | None = 0.9,
    similarity: float = 0.7,
    max_share: float = 0.5,
    common_share: float = 0.1,
) -> Deduplicated:
    """Drop repeated instances, merge those of one input, and number the clusters of what is alike.

    Texts are compared by pairs of words or, where the median text has under 20 words, by 5 characters: one changed word of a
    short text would leave too few pairs of words.

    Args:
        instances: of one task, in one form.
        demonstrations: of the task; an instance that repeats one is dropped, a cluster like one is pinned.
        exact: drop the same input and outputs.
        merge: make instances of one input one, with all their outputs.
        near: similarity, of windows and of word sequences, from which an instance repeats another; None drops none.
        similarity: Jaccard similarity of windows from which two instances share a cluster.
        max_share: a cluster that chains more than this share of the instances is linked anew at higher similarities.
        common_share: an input that more than this share of the instances have (at least 6) is the task's own: no link.
    """
    counts = Counter(map(_question, instances))
    common = {text for text, count in counts.items() if not text or count > max(5, common_share * len(instances))}
    nodes, groups, repeats = _merge(instances, demonstrations, common, exact, merge)
    parts = [(e.input, e.output) for e in demonstrations] + [(i.input, *i.outputs) for i in nodes]
    texts = [[word for part in whole for word in comparable(part)] for whole in parts]
    lengths = sorted(map(len, texts))
    windows: tuple[Unit, int] = ("word", 2) if lengths and lengths[len(lengths) // 2] >= 20 else ("char", 5)
    every: list[Example | Instance] = [*demonstrations, *nodes]
    outputs = [[e.output] for e in demonstrations] + [list(i.outputs) for i in nodes]
    # A long output in common links two instances; taking a cluster apart drops that link last.
    same_outputs = [(i, j, 0.94) for i, j in same_texts(outputs)]
    pairs = sorted([*near_pairs([shingles(text, *windows) for text in texts], similarity), *same_outputs])
    links = list(_links(every, [set() for _ in demonstrations] + [groups[i.id] for i in nodes], common))
    labels, taken_apart = _components(len(texts), links, pairs, similarity, max_share)
    if near is not None:
        repeats.update(_near_repeats(every, pairs, near, windows))
    kept = [k for k, instance in enumerate(nodes, len(demonstrations)) if instance.id not in repeats]
    note = f"{taken_apart} instances hang together at similarity {similarity:g}; they were taken apart at a higher one"
    return Deduplicated(
        tuple(nodes[k - len(demonstrations)] for k in kept),
        tuple(labels[k] for k in kept),
        frozenset(labels[: len(demonstrations)]),
        repeats,
        (note,) if taken_apart else (),
    )


def near_pairs(sets: Sequence[Hashes], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs of window sets whose Jaccard similarity is at least ``threshold``, as (i, j, similarity) with i < j.

    Proposed by MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al. 2014, chapter 3), decided exactly.

    Args:
        sets: as from :func:`shingles`; empty sets are like nothing.
        threshold: at least 0.5; below it the hashing would miss too many.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
    blank = MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=int)
    signatures = np.zeros((len(sets), _PERMUTATIONS), dtype=np.uint64)
    # Four standard errors of an estimate from so many permutations: what is below is not worth the exact computation.
    floor = threshold - 4 * math.sqrt(threshold * (1 - threshold) / _PERMUTATIONS)
    for j, values in enumerate(sets):
        if not len(values):
            continue
        sketch = blank.copy()
        sketch.update_batch((values & np.uint64(0xFFFFFFFF)).tolist())
        signatures[j] = sketch.hashvalues
        candidates = np.array(sorted(index.query(sketch)), dtype=np.int64)
        index.insert(j, sketch, check_duplication=False)
        likely = candidates[(signatures[candidates] == signatures[j]).mean(axis=1) >= floor]
        for i in likely.tolist():
            similarity = jaccard(sets[i], values, threshold)
            if similarity >= threshold:
                yield i, j, similarity


def same_texts(texts: Sequence[Iterable[str]]) -> Iterator[tuple[int, int]]:
    """Yield (i, j) where the texts at i and at j have a long one in common, unless it is so frequent that it is boilerplate."""
    holders: dict[str, list[int]] = {}
    for position, instance_texts in enumerate(texts):
        for text in {" ".join(fold(text)) for text in instance_texts}:
            if len(text) >= MIN_DISTINCTIVE:
                holders.setdefault(text, []).append(position)
    for same in holders.values():
        if len(same) <= max(5, len(texts) // 100):
            yield from ((same[0], other) for other in same[1:])


def plain(text: str) -> str:
    """Return a text without case, and with single blanks for white space: the form in which texts count as the same."""
    return " ".join(text.split()).casefold()


def _question(node: Example | Instance) -> str:
    """Return what tells inputs apart: the text, and the picture where there is one."""
    picture = _picture(node)
    return plain(node.input) if picture is None else f"{plain(node.input)}\x1f{picture}"


def _picture(node: Example | Instance) -> str | None:
    picture = node.picture if isinstance(node, Instance) else None
    return None if picture is None else picture.sha256


def _merge(
    instances: Sequence[Instance], demonstrations: Sequence[Example], common: set[str], exact: bool, merge: bool
) -> tuple[list[Instance], dict[str, set[str]], dict[str, tuple[str, str]]]:
    """Return the instances left, the groups that each stands for, and the others with reason and detail."""
    demonstrated = {(plain(e.input), plain(e.output)) for e in demonstrations}
    nodes: dict[str, Instance] = {}
    groups: dict[str, set[str]] = {}
    repeats: dict[str, tuple[str, str]] = {}
    same: dict[tuple[str, frozenset[str]], str] = {}
    by_question: dict[str, str] = {}
    for instance in sorted(instances, key=lambda i: (i.key, i.id)):
        question, answers = _question(instance), frozenset(map(plain, instance.outputs))
        id_ = instance.id
        if exact and any((question, answer) in demonstrated for answer in answers):
            repeats[id_] = ("demonstration", "the same as a demonstration")
            continue
        if exact and (question, answers) in same:
            id_ = same[question, answers]
            repeats[instance.id] = ("exact_duplicate", f"the same as {id_}")
        elif merge and question not in common and question in by_question:
            id_ = by_question[question]
            nodes[id_] = replace(nodes[id_], outputs=tuple(dict.fromkeys([*nodes[id_].outputs, *instance.outputs])))
            repeats[instance.id] = (MERGED, f"its outputs are references of {id_}")
        else:
            nodes[id_] = instance
        same.setdefault((question, answers), id_)
        by_question.setdefault(question, id_)
        groups.setdefault(id_, set()).update(() if instance.group is None else [instance.group])
    return list(nodes.values()), groups, repeats


def _links(nodes: Sequence[Example | Instance], groups: Sequence[set[str]], common: set[str]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, str], int] = {}
    for position, (node, names) in enumerate(zip(nodes, groups, strict=True)):
        question, picture = _question(node), _picture(node)
        # By words, so that another form of the same input (full width, say) is on the same side, though it is not merged.
        asked = f"{' '.join(comparable(node.input))}\x1f{picture}"
        marks = [("group", name) for name in sorted(names)] + ([("input", asked)] if question not in common else [])
        marks += [("picture", picture)] if picture else []
        yield from ((first.setdefault(mark, position), position) for mark in marks)


def _components(
    count: int, links: Sequence[tuple[int, int]], pairs: Sequence[tuple[int, int, float]], similarity: float, max_share: float
) -> tuple[list[int], int]:
    """Number the connected components; return also how many members the largest had that was taken apart."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    level = np.full(count, similarity)
    taken_apart = 0
    while count:
        edges = np.array([*links, *((i, j) for i, j, s in pairs if s >= max(level[i], level[j]))], dtype=np.int64).reshape(-1, 2)
        graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
        labels = connected_components(graph, directed=False)[1]
        giant = np.bincount(labels)[labels] > max(max_share * count, 1)
        if not (giant & (level < 0.95)).any():
            return labels.tolist(), taken_apart
        taken_apart = max(taken_apart, int(giant.sum()))
        level[giant] = np.minimum(level[giant] + 0.05, 0.95)
    return [], 0


def _near_repeats(
    every: Sequence[Example | Instance], pairs: Iterable[tuple[int, int, float]], near: float, windows: tuple[Unit, int]
) -> dict[str, tuple[str, str]]:
    """Return reason and detail by id for the second of each pair of near-duplicates whose first is kept."""
    repeats: dict[str, tuple[str, str]] = {}
    gone: set[int] = set()
    for i, j, _ in pairs:
        earlier, later = every[i], every[j]
        if isinstance(later, Instance) and i not in gone and j not in gone and _repeats(earlier, later, near, windows):
            gone.add(j)
            if isinstance(earlier, Example):
                repeats[later.id] = ("demonstration", "nearly the same as a demonstration")
            else:
                repeats[later.id] = ("near_duplicate", f"nearly the same as {earlier.id}")
    return repeats


def _repeats(earlier: Example | Instance, later: Instance, near: float, windows: tuple[Unit, int]) -> bool:
    """Return whether input and outputs are nearly the same, numbers entirely; the input's words too where the output is short."""
    if _picture(earlier) != _picture(later):
        return False
    output = earlier.output if isinstance(earlier, Example) else "\n".join(earlier.outputs)
    short = len(" ".join(fold(output))) < MIN_DISTINCTIVE
    for left, right, strict in ((output, "\n".join(later.outputs), False), (earlier.input, later.input, short)):
        if sorted(_NUMBER.findall(left)) != sorted(_NUMBER.findall(right)):
            return False
        if comparable(left) == comparable(right):
            continue
        # Windows count every changed word n times; the sequence sees sentences moved around.
        if strict or jaccard(shingles(left, *windows), shingles(right, *windows)) < near:
            return False
        if Levenshtein.normalized_similarity(fold(left), fold(right)) < near:
            return False
    return True


def merged_note(count: int) -> str:
    """Return what was done with instances that share their input with another, as a phrase for the user."""
    return f"{count} with the input of another {'is' if count == 1 else 'are'} merged into it as references"
