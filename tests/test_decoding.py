"""Greedy texts are those of the plain computation, whatever the batch size and the order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from sacrebleu.metrics import CHRF

from tests import rows, tiny
from xeric.bases import best_tokens, stepping
from xeric.bases.base import Base
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode, default_limit
from xeric.invisible import without_invisible


def greedy_by_hand(base: Base, task: EncodedTask, limit: int) -> list[str]:
    """One row at a time, the whole row run again for every token: no cache, no padding, no generate()."""
    texts = []
    for row in task.rows:
        ids = [*task.prefix_of(row).ids, *row.ids]
        new: list[int] = []
        with torch.no_grad():
            while len(new) < limit:
                token = int(base.model(torch.tensor([ids + new])).logits[0, -1].argmax())
                if token in base.eos:
                    break
                new.append(token)
        texts.append(base.detokenize(new))
    return texts


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_text_is_greedy_and_independent_of_batch_size_and_order(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.decoding_rows(base, rows.task("one"))
    expected = greedy_by_hand(base, task, 12)
    assert len(set(expected)) > 1, "the texts should differ for the test to see anything"
    for size in (1, 5, 12):
        assert decode(base, task, DecodeOptions(batch_size=size), max_new_tokens=12) == expected
    assert base.shares_prefix
    assert decode(base, task, DecodeOptions(batch_size=5), max_new_tokens=12, shared=False) == expected
    backwards = replace(task, rows=task.rows[::-1])
    assert decode(base, backwards, DecodeOptions(batch_size=5), max_new_tokens=12) == expected[::-1]


def test_rows_with_fewer_demonstrations_keep_their_place(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    full = rows.decoding_rows(base, rows.task("one"), demonstrations=2)
    mixed = replace(full, rows=tuple(replace(row, prefix=n % 3) for n, row in enumerate(full.rows)))
    assert decode(base, mixed, DecodeOptions(batch_size=4), max_new_tokens=8) == greedy_by_hand(base, mixed, 8)


def test_text_ends_at_the_end_token_and_nothing_is_sampled(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 4)
    free = decode(base, task, DecodeOptions(batch_size=4), max_new_tokens=10)
    new = [base.tokenize(text) for text in free]
    stopper = new[0][2]
    stopping = replace(base, eos=(2, stopper))
    stopping.shares_prefix = None
    texts = decode(stopping, task, DecodeOptions(batch_size=4), max_new_tokens=10)
    assert texts == greedy_by_hand(stopping, task, 10)
    assert texts != free


def test_progress_counts_every_row_once(open_base: Callable[[str], Base]) -> None:
    seen: list[int] = []
    base = open_base("gpt2")
    decode(base, rows.decoding_rows(base, rows.task("one")), DecodeOptions(batch_size=5), max_new_tokens=2, progress=seen.append)
    assert sum(seen) == 12


@pytest.mark.parametrize("shape", ["llama", "gemma3", "bloom"])
def test_beams_over_the_shared_prefix_are_those_of_the_plain_computation(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    task = rows.decoding_rows(base, rows.task("one"), 6)
    options = DecodeOptions(strategy="beam", beams=3)
    plain = decode(base, task, options.model_copy(update={"batch_size": 1}), max_new_tokens=6, shared=False)
    for size in (1, 4):
        assert decode(base, task, options.model_copy(update={"batch_size": size}), max_new_tokens=6) == plain


def test_beam_search_finds_what_a_search_of_its_own_finds(open_base: Callable[[str], Base]) -> None:
    """Two new tokens, beams as wide as the vocabulary: the best of all pairs, found here by looking at every first token."""
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 2)
    options = DecodeOptions(strategy="beam", beams=32, length_penalty=0.0)
    decoded = decode(base, task, options.model_copy(update={"batch_size": 2}), max_new_tokens=2)
    for row, text in zip(task.rows, decoded, strict=True):
        prompt = (*task.prefix_of(row).ids, *row.ids)
        with torch.no_grad():
            first = base.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
            heads = first.topk(32).indices.tolist()
            second = base.model(torch.tensor([[*prompt, head] for head in heads])).logits[:, -1].log_softmax(-1)
        total = second + first[heads][:, None]
        for number, head in enumerate(heads):
            if head in base.eos:
                total[number] = first[head]
        best, token = divmod(int(total.argmax()), total.shape[1])
        new = [heads[best]] if heads[best] in base.eos else [heads[best], token]
        assert text == base.detokenize([token for token in new if token not in base.eos])


@pytest.mark.parametrize("options", [{"no_repeat_ngram": 2}, {"no_repeat_ngram": 1}, {"repetition_penalty": 3.0}])
def test_a_text_does_not_repeat_itself_but_may_repeat_its_input(
    options: dict[str, float], open_base: Callable[[str], Base]
) -> None:
    """Against a greedy search by hand, one row at a time, which looks at the generated tokens alone."""
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 6)
    size, penalty = int(options.get("no_repeat_ngram", 0)), options.get("repetition_penalty", 1.0)

    def choose(logits: torch.Tensor, new: list[int]) -> int:
        scores = logits.clone()
        for token in set(new):
            scores[token] *= 1 / penalty if scores[token] > 0 else penalty
        for position in range(len(new) - size + 1 if size else 0):
            if new[position : position + size - 1] == new[len(new) - size + 1 :]:
                scores[new[position + size - 1]] = -torch.inf
        return int(scores.argmax())

    expected = []
    for row in task.rows:
        prompt, new = [*task.prefix_of(row).ids, *row.ids], list[int]()
        while len(new) < 12:
            with torch.no_grad():
                token = choose(base.model(torch.tensor([prompt + new])).logits[0, -1], new)
            if token in base.eos:
                break
            new.append(token)
        expected.append(base.detokenize(new))
    chosen = DecodeOptions.model_validate({"batch_size": 4, **options})
    assert decode(base, task, chosen, max_new_tokens=12) == expected
    assert expected != decode(base, task, DecodeOptions(batch_size=4), max_new_tokens=12), "free texts should repeat themselves"


def test_sampling_follows_its_seed_and_leaves_the_callers_random_state_alone(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 6)

    def sample(seed: int, **options: float) -> list[str]:
        chosen = DecodeOptions(strategy="sample", **options)  # type: ignore[arg-type]
        return decode(base, task, chosen.model_copy(update={"batch_size": 4}), max_new_tokens=6, seed=seed)

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert sample(0) == sample(0) != sample(1)
    assert torch.equal(torch.rand(1), expected)
    greedy = decode(base, task, DecodeOptions(batch_size=4), max_new_tokens=6)
    assert sample(0) != greedy
    assert sample(0, top_k=1) == greedy
    assert sample(3, temperature=1e-4) == greedy


def test_a_sampled_text_depends_on_no_other_text(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 6)
    options = DecodeOptions(strategy="sample", temperature=2.0, top_k=50, top_p=0.9)
    expected = decode(base, task, options, max_new_tokens=6, seed=4)
    assert len(set(expected)) > 1
    for size in (1, 4):
        assert decode(base, task, options.model_copy(update={"batch_size": size}), max_new_tokens=6, seed=4) == expected
    # The sampled tokens of a text are those of its number in the task.
    assert decode(base, replace(task, rows=task.rows[:3]), options, max_new_tokens=6, seed=4) == expected[:3]


def test_samples_come_as_often_as_they_are_probable(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 1)
    prompt = (*task.prefix_of(task.rows[0]).ids, *task.rows[0].ids)
    with torch.no_grad():
        logits = base.model(torch.tensor([prompt])).logits[0, -1]
    best = logits.topk(3)
    expected = best.values.div(0.5).softmax(-1)
    copies = replace(task, rows=task.rows * 600)
    options = DecodeOptions(strategy="sample", temperature=0.5, top_k=3, batch_size=200)
    texts = decode(base, copies, options, max_new_tokens=1, seed=1)
    shares = [texts.count(base.detokenize([token])) / 600 for token in best.indices.tolist()]
    assert shares == pytest.approx(expected.tolist(), abs=0.07)


def test_rows_that_join_while_others_are_written_have_the_texts_of_a_row_alone(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts end at different steps, so slots are taken one by one; the cache has so little room that its rows are moved often."""
    base = open_base("gemma3")
    assert base.can_share_prefix()
    monkeypatch.setattr(stepping, "_SPARE", 1)
    task = rows.decoding_rows(base, rows.task("one"))
    free = decode(base, task, DecodeOptions(batch_size=1), max_new_tokens=9)
    # A token that many texts hold ends them early.
    written = [token for text in free for token in set(base.tokenize(text)[1:])]
    stopping = replace(base, eos=(2, max(set(written), key=written.count)))
    expected = greedy_by_hand(stopping, task, 9)
    assert len({len(base.tokenize(text)) for text in expected}) > 2
    for size in (2, 3, 7):
        assert decode(stopping, task, DecodeOptions(batch_size=size), max_new_tokens=9) == expected


def test_a_family_that_fails_the_test_of_steps_is_decoded_by_generate(
    open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 4)
    expected = greedy_by_hand(base, task, 6)
    forward = base.model.model.forward

    def unmasked(*args: object, attention_mask: torch.Tensor | None = None, **kwargs: object) -> object:
        """Sees the blanks before a row as soon as single tokens follow."""
        ids = kwargs["input_ids"]
        assert isinstance(ids, torch.Tensor)
        return forward(*args, attention_mask=attention_mask if ids.shape[1] > 1 else None, **kwargs)

    monkeypatch.setattr(base.model.model, "forward", unmasked)
    assert base.can_share_prefix()
    assert not base.writes_in_steps
    assert decode(base, task, DecodeOptions(batch_size=1), max_new_tokens=6) == expected


@pytest.mark.parametrize("shape", ["llama", "bloom"])
def test_best_tokens_by_parts_of_the_vocabulary_are_those_of_all_logits(
    shape: str, open_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base(shape)
    task = rows.decoding_rows(base, rows.task("one"))
    expected = greedy_by_hand(base, task, 6)
    monkeypatch.setattr(best_tokens, "_PART", 100)
    assert best_tokens.computable_in_parts(base.output_embeddings)
    assert decode(base, task, DecodeOptions(batch_size=5), max_new_tokens=6) == expected
    layer, hidden = torch.nn.Linear(4, 350), torch.randn(3, 4)
    assert torch.equal(best_tokens.best_tokens(layer, hidden), layer(hidden).argmax(-1))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    assert best_tokens.best_tokens(layer, hidden).tolist() == [0, 0, 0], "the first among equals"


def test_minimum_risk_takes_the_sample_most_like_the_others(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    task = rows.decoding_rows(base, rows.task("one"), 6)
    options = DecodeOptions(strategy="mbr", candidates=5, batch_size=5)
    decoded = decode(base, task, options, max_new_tokens=8, seed=3)
    # The same draws, by sampling alone: five copies of a row in one batch.
    copies = replace(task, rows=tuple(row for row in task.rows for _ in range(5)))
    drawn = decode(base, copies, DecodeOptions(strategy="sample", batch_size=5), max_new_tokens=8, seed=3)
    scorer, better = CHRF(word_order=2), 0
    for number, text in enumerate(decoded):
        own = drawn[5 * number : 5 * number + 5]
        seen = [
            without_invisible(sample, boundaries=False) for sample in own
        ]  # a random model writes controls, which no score counts
        gains = [sum(scorer.sentence_score(a, [b]).score for m, b in enumerate(seen) if m != n) for n, a in enumerate(seen)]
        assert gains[own.index(text)] == pytest.approx(max(gains))
        better += text != own[0]
    assert better, "the first is not always the best"
    assert decode(base, task, options, max_new_tokens=8, seed=3) == decoded


def test_the_default_limit_fits_95_of_100_targets_and_half_the_context() -> None:
    assert default_limit([10] * 99 + [500], 8192) == 10
    assert default_limit([10] * 90 + [30] * 10, 8192) == 30
    assert default_limit([300] * 10, 512) == 256
    assert default_limit([], 512) == 1
