"""What every registered method owes, on every architecture and kind of tokenizer: the contract of the design's section 4."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import rows, tiny
from tests.attached import SMALL_TUNERS, train
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.data.rows import EncodedTask
from xeric.decoding import DecodeOptions, decode
from xeric.errors import ConfigError, RunError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, Method, MethodOptions, StepZero, method_options
from xeric.methods.peft_names import TUNERS
from xeric.training.loss import Rows, step_loss
from xeric.training.options import TrainOptions

# Methods with options under which they compute something else: each owes the same.
VARIANTS: dict[str, dict[str, Any]] = {
    "combined, scalar gates": {"gate": "scalar"},
    "combined, token gates": {"gate": "token"},
    "adaptive_prefix, generated": {"kind": "generated"},
}
NAMES = [*METHODS.names(), *VARIANTS]
TRAINED = [name for name in NAMES if name != "none"]
CAUSAL = ["llama", "qwen3", "gpt2", "gemma3", "bloom"]
# The other architectures, and all three with each kind of tokenizer: byte-level BPE, unigram (SentencePiece), WordPiece.
SEQ2SEQ = ["t5", "bart", "mbart", "t5-wordpiece"]
ENCODERS = ["bert", "roberta", "bert-unigram", "distilbert"]
SHAPES = [*CAUSAL, "llama-unigram", "llama-wordpiece", *SEQ2SEQ, *ENCODERS]
# DistilBERT takes no computed keys and values; it takes a prefix of vectors.
REFUSED = {(name, "distilbert") for name in NAMES if name.startswith(("prefix", "adaptive_prefix", "combined"))}
# BLOOM computes attention by code of its own, which a prefix with a softmax of its own finds no place in.
UNGATED = {(name, "bloom") for name in VARIANTS if name.startswith("combined")}
# It starts so near the base that a float32 loss does not show it.
NOT_SHOWN = {("peft:unilora", "bert")}
# PEFT lists no modules of BERT for this one.
MODULES = {("peft:ln_tuning", "bert"): {"target_modules": ["LayerNorm"]}}


def method_of(name: str) -> type[Method]:
    return METHODS.get(name.partition(",")[0])


def options_of(name: str, **options: Any) -> MethodOptions:
    return method_options({"name": name.partition(",")[0], **VARIANTS.get(name, {}), **options})


def is_tuner(name: str) -> bool:
    return name.startswith("peft:")


def shapes_of(name: str) -> list[str]:
    """All shapes; PEFT's tuners, many and alike, on one of each architecture, and on gpt2 once."""
    if is_tuner(name):
        return [shape for shape in ("llama", "t5", "bert") if (name, shape) not in NOT_SHOWN]
    return [shape for shape in SHAPES if (name, shape) not in REFUSED | UNGATED]


def on_conv1d_too(name: str) -> list[str]:
    return ["gpt2"] if is_tuner(name) and TUNERS[name.removeprefix("peft:")].on_conv1d else []


CASES = [(name, shape) for name in NAMES for shape in shapes_of(name)]
TRAINED_CASES = [(name, shape) for name, shape in CASES if name != "none"]
# PEFT saves, loads and merges its tuners by the same code on every architecture.
SAVED_CASES = [(name, shape) for name, shape in TRAINED_CASES if shape in CAUSAL or not is_tuner(name)]
SAVED_CASES += [(name, shape) for name in TRAINED for shape in on_conv1d_too(name)]

# The other image encoder's weights are fetched.
OWN = {"picture": {"encoder": "pixels"}}

DEFINITIONS = {"one": "Turn the words around.", "said": "Say the last word first, and so on."}


def attach(base: Base, name: str, *, seed: int = 1, tasks: Sequence[str] = tuple(DEFINITIONS)) -> Adaptation:
    chosen = SMALL_TUNERS.get(name, {}) | MODULES.get((name, base.model.config.model_type), {})
    options = options_of(name, **({"options": chosen} if chosen else OWN.get(name, {})))
    return method_of(name).attach(base, options, seed=seed, definitions={task: DEFINITIONS[task] for task in tasks})


def step_zero(name: str, base: Base) -> StepZero:
    return method_of(name).step_zero(options_of(name), base.architecture.name)


SLOW_ON_BERT = {"peft:frod", "peft:ia3", "peft:supertuning"}


def learning_rate(name: str, shape: str) -> float:
    """Ten times the method's own, for methods whose few parameters need large steps; vectors move random bases only so far.

    Three times that for the slowest on BERT, which normalises what they change.
    """
    if name == "picture":
        return 0.1
    rate = 1.0 if name.startswith(("prefix", "adaptive_prefix")) else max(5e-3, 10 * method_of(name).default_lr)
    return 3 * rate if name in SLOW_ON_BERT and shape == "bert" else rate


@torch.no_grad()
def loss_of(base: Base, task: EncodedTask) -> float:
    return step_loss(base, [Rows.of([task]).items], backward=False)[task.task]


def loss_of_one(base: Base) -> float:
    """The loss of rows made now: what stands for an instance's picture depends on what is attached."""
    return loss_of(base, rows.training_rows(base, rows.task("one")))


def texts_of(base: Base) -> list[str]:
    return decode(base, rows.decoding_rows(base, rows.task("said"), 4), DecodeOptions(batch_size=4), max_new_tokens=8)


def fit(base: Base, adaptation: Adaptation, task: EncodedTask, steps: int = 12, lr: float = 5e-3) -> None:
    options = TrainOptions(max_steps=steps, batch_size=8, schedule="constant", warmup=0.0)
    assert train(base, adaptation, [task], options, lr=lr, order_seed=0, dropout_seed=0).status == "ok"


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_step_zero_reference(name: str, shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = attach(base, name)
    task, decoding = rows.training_rows(base, rows.task("one")), rows.decoding_rows(base, rows.task("said"), 4)
    loss, texts = loss_of(base, task), texts_of(base)
    begins = [adaptation.initial_tokens(name) for name in ("one", "said")]
    assert any(begins) == (step_zero(name, base) == "initial-tokens")
    if base.instance_vectors:
        tokens = base.instance_vectors.initial_tokens
        told = [rows.with_tokens_for_vectors(of, base.vocabulary, tokens) for of in (task, decoding)]
        assert told != [task, decoding]
        task, decoding = told
    adaptation.detach()
    task, decoding = rows.begun_with(task, begins[0]), rows.begun_with(decoding, begins[1])
    if step_zero(name, base) == "none":
        assert loss_of(base, task) != loss, "it starts at the base after all, so let it say so"
        return
    assert loss_of(base, task) == pytest.approx(loss, rel=1e-5)
    assert decode(base, decoding, DecodeOptions(batch_size=4), max_new_tokens=8) == texts


@pytest.mark.parametrize(("name", "shape"), TRAINED_CASES)
def test_loss_falls_and_only_declared_parameters_move(name: str, shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    adaptation = attach(base, name, tasks=["one"])
    task = rows.training_rows(base, rows.task("one"))
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    declared = adaptation.trainable()
    assert declared
    assert len({id(p) for p in declared.values()}) == len(declared)
    loss = loss_of(base, task)
    fit(base, adaptation, task, lr=learning_rate(name, shape))
    # Some vectors before the input of a frozen base that was never trained: little can be had, at any rate from 0.1 to 3.
    assert loss_of(base, task) < (0.999 if name == "picture" else 0.98) * loss
    moved = {n for n, p in base.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= set(declared)
    assert len(moved) > len(declared) // 2


@pytest.mark.parametrize(("name", "shape"), SAVED_CASES)
def test_save_load_merge_and_detach(name: str, shape: str, open_base: Callable[[str], Base], tmp_path: Path) -> None:
    base = open_base(shape)
    untouched, texts = loss_of_one(base), texts_of(base)
    adaptation = attach(base, name)
    fit(base, adaptation, rows.training_rows(base, rows.task("one")), steps=4, lr=learning_rate(name, shape))
    trained, written = loss_of_one(base), texts_of(base)
    adaptation.save(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files
    assert all(path.suffix in (".safetensors", ".json") for path in files)

    adaptation.detach()
    assert loss_of_one(base) == untouched, "the method left a trace on the base"
    assert texts_of(base) == texts
    assert not any(p.requires_grad for p in base.model.parameters())

    again = attach(base, name, seed=99)
    again.load(tmp_path)
    assert loss_of_one(base) == pytest.approx(trained, rel=1e-6)
    assert texts_of(base) == written
    again.save(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files

    if method_of(name).mergeable(options_of(name)):
        again.merge()
    else:
        with pytest.raises(RunError, match=r"^[^.]*cannot be merged[^.]*$"):
            again.merge()
    assert loss_of_one(base) == pytest.approx(trained, rel=1e-4)
    assert texts_of(base) == written


@pytest.fixture(scope="module")
def half_base(base_folder: Callable[[str], Path]) -> Base:
    return load_base(str(base_folder("llama")), device="cpu", precision="bf16")


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_trained_is_kept_in_float32(name: str, half_base: Base) -> None:
    """A step of a thousandth is nothing to a bf16 number near 1."""
    adaptation = attach(copy.deepcopy(half_base), name)
    assert {parameter.dtype for parameter in adaptation.trainable().values()} == {torch.float32}


def test_norms_are_trained_on_a_base_in_bf16(half_base: Base) -> None:
    base = copy.deepcopy(half_base)
    adaptation = attach(base, "peft:ln_tuning")
    before = adaptation.state()
    fit(base, adaptation, rows.training_rows(base, rows.task("one")), steps=4, lr=1e-3)
    up, down = (
        any(bool((move(tensor - before[name])).any()) for name, tensor in adaptation.state().items())
        for move in (lambda change: change > 0, lambda change: change < 0)
    )
    assert up
    assert down


@pytest.mark.parametrize("name", TRAINED)
def test_initialisation_follows_its_seed(name: str, open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    states = []
    for seed in (0, 0, 1):
        adaptation = attach(base, name, seed=seed)
        states.append(adaptation.state())
        adaptation.detach()
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    same = all(torch.equal(states[0][n], states[2][n]) for n in states[0])
    assert same != method_of(name).seeded(options_of(name))


def test_two_methods_one_after_the_other_leave_no_trace(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    for name in TRAINED:
        adaptation = attach(base, name)
        fit(base, adaptation, rows.training_rows(base, rows.task("one")), steps=2)
        adaptation.detach()
        after = dict(base.model.named_parameters())
        assert set(after) == set(before)
        assert all(torch.equal(after[n], before[n]) for n in before), name


@pytest.mark.parametrize("scale", ["alpha/r", "alpha", "alpha/sqrt(r)"])
def test_lora_equals_the_formula(scale: str, open_base: Callable[[str], Base]) -> None:
    """W' = W + s A B in the row convention, computed by hand from the saved matrices."""
    base = open_base("llama")
    plain = base.model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    options = method_options({"name": "lora", "rank": 3, "alpha": 5.0, "scale": scale})
    adaptation = METHODS.get("lora").attach(base, options, seed=0)
    d, k = plain.shape[1], plain.shape[0]
    layer = {n: p for n, p in adaptation.trainable().items() if "layers.0.self_attn.q_proj" in n}
    assert sum(p.numel() for p in layer.values()) == 3 * (d + k)
    with torch.no_grad():
        for parameter in layer.values():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    a, b = (next(p for n, p in layer.items() if part in n).detach().clone() for part in ("lora_A", "lora_B"))
    s = {"alpha/r": 5 / 3, "alpha": 5.0, "alpha/sqrt(r)": 5 / 3**0.5}[scale]
    adaptation.merge()
    merged = base.model.model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(merged.T, plain.T + s * (a.T @ b.T), rtol=1e-5, atol=1e-6)


def test_lora_adapts_every_linear_layer_but_the_output(open_base: Callable[[str], Base]) -> None:
    for shape in SHAPES:
        base = open_base(shape)
        kinds, output = ("Linear", "Conv1D"), base.output_embeddings
        linear = {n for n, m in base.model.named_modules() if type(m).__name__ in kinds and m is not output}
        adaptation = attach(base, "lora")
        adapted = {n.rpartition(".lora_")[0] for n in adaptation.trainable()}
        assert adapted == linear, shape


@pytest.mark.parametrize("shape", ["llama", "gpt2", "t5", "bert"])
def test_a_saved_lora_opens_with_plain_peft(
    shape: str, base_folder: Callable[[str], Path], open_base: Callable[[str], Base], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    base = open_base(shape)
    task = rows.training_rows(base, rows.task("one"), 1)
    adaptation = attach(base, "lora")
    fit(base, adaptation, task)
    adaptation.save(tmp_path)
    inputs = {"input_ids": torch.tensor([[*task.prefixes[-1].ids, *task.rows[0].ids]])}
    if base.architecture.name == "seq2seq":
        inputs["decoder_input_ids"] = inputs["input_ids"]
    made = {"causal": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM, "encoder": AutoModelForMaskedLM}
    with torch.no_grad():
        expected = base.model(**inputs).logits
        opened = made[base.architecture.name].from_pretrained(base_folder(shape))
        plain = PeftModel.from_pretrained(opened, str(tmp_path)).eval()
        torch.testing.assert_close(plain(**inputs).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_before_a_row_start_exactly_at_their_tokens(shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    options = method_options({"name": "prefix", "level": "input"})
    adaptation = METHODS.get("prefix").attach(base, options, seed=1, definitions=DEFINITIONS)
    task, decoding = rows.training_rows(base, rows.task("one")), rows.decoding_rows(base, rows.task("said"), 4)
    loss, texts = loss_of(base, task), decode(base, decoding, DecodeOptions(batch_size=4), max_new_tokens=8)
    begins = [adaptation.initial_tokens(name) for name in DEFINITIONS]
    adaptation.detach()
    assert all(begins)
    task, decoding = rows.begun_with(task, begins[0]), rows.begun_with(decoding, begins[1])
    assert loss_of(base, task) == pytest.approx(loss, rel=1e-5)
    assert decode(base, decoding, DecodeOptions(batch_size=4), max_new_tokens=8) == texts


@pytest.mark.parametrize(("name", "shape"), sorted(UNGATED))
def test_gates_that_a_base_has_no_place_for_are_refused_in_a_sentence(
    name: str, shape: str, open_base: Callable[[str], Base]
) -> None:
    base = open_base(shape)
    modules = [name for name, _ in base.model.named_modules()]
    with pytest.raises(ConfigError, match="attention by code of its own") as caught:
        attach(base, name)
    assert "gate=none" in (caught.value.hint or "")
    assert [name for name, _ in base.model.named_modules()] == modules
    assert base.attention_addition is None


@pytest.mark.parametrize(("name", "shape"), sorted(REFUSED))
def test_what_a_base_cannot_take_is_refused_in_a_sentence(name: str, shape: str, open_base: Callable[[str], Base]) -> None:
    base = open_base(shape)
    with pytest.raises(ConfigError, match="cannot continue a computed prefix") as caught:
        attach(base, name)
    assert "level=input" in (caught.value.hint or "")
    assert base.learned_prefix is None


def test_targets_that_match_nothing_are_named(open_base: Callable[[str], Base]) -> None:
    base = open_base("llama")
    options = method_options({"name": "lora", "targets": ["query_key_value"]})
    with pytest.raises(ConfigError, match="no layer") as caught:
        METHODS.get("lora").attach(base, options, seed=0)
    assert "q_proj" in (caught.value.hint or "")
    assert set(tiny.SHAPES) >= set(CAUSAL)
