"""Pretraining a base: resumption, schedule, measurements, the folder that comes out."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.test_corpus import write_sources
from xeric.bases.loading import load_base
from xeric.config import apply_overrides, build, load_yaml
from xeric.errors import ConfigError, RunError, UserError
from xeric.training import pretrain as module
from xeric.training.base_folder import publish_base
from xeric.training.bpe import characters_by_token
from xeric.training.corpus import prepare_corpus
from xeric.training.optimizer import Optimizer, OptimizerOptions
from xeric.training.pretrain import pretrain
from xeric.training.pretrain_config import PretrainConfig, bundled_recipes, load_pretrain_config
from xeric.training.pretrain_progress import PretrainResult, Progress
from xeric.training.token_loss import mean_token_loss, summed_token_loss

_LENGTHS = [{"tokens": 64, "share": 0.5}, {"tokens": 128, "share": 0.5}]
SETTINGS: dict[str, Any] = {
    "title": "A tiny base",
    "mixture": {"tokens": 256, "windows": _LENGTHS, "rows": _LENGTHS},
    "shape": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
    },
    "schedule": {"warmup_steps": 2, "stable_characters": 8000, "decay_characters": 4000},
    "device": "cpu",
    "precision": "fp32",
    "compile": False,
    "evaluate_every": 3,
    "checkpoint_seconds": 0.0,
}


class _Killed(Exception):
    pass


class _Watcher:
    """Keeps what it is told; kills the training at a step."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.kill_at, self.seen, self.values = kill_at, list[Progress](), dict[int, Mapping[str, Any]]()

    def step(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.step == self.kill_at:
            raise _Killed

    def measured(self, step: int, values: Mapping[str, Any]) -> None:
        self.values[step] = values


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    options = write_sources(folder)
    (folder / "corpus.json").write_text(options.model_dump_json(), encoding="utf-8")
    return folder


def _config(sources: Path, *overrides: str) -> PretrainConfig:
    corpus = json.loads((sources / "corpus.json").read_text(encoding="utf-8"))
    return build(PretrainConfig, apply_overrides({**SETTINGS, "corpus": corpus}, overrides))


def _run(config: PretrainConfig, sources: Path, folder: Path, watcher: _Watcher | None = None, **options: Any) -> PretrainResult:
    return pretrain(config, folder, text_dir=sources / "text", tasks_dir=sources / "tasks", observer=watcher, **options)


@pytest.fixture(scope="module")
def finished(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainResult, _Watcher]:
    folder, watcher = tmp_path_factory.mktemp("finished"), _Watcher()
    return folder, _run(_config(sources), sources, folder, watcher), watcher


# --- resumption -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill_at", [1, 4, 7])
def test_killed_and_resumed_is_undisturbed(
    kill_at: int, sources: Path, finished: tuple[Path, PretrainResult, _Watcher], tmp_path: Path
) -> None:
    folder, whole, _ = finished
    with pytest.raises(_Killed):
        _run(_config(sources), sources, tmp_path, _Watcher(kill_at))
    again = pretrain(_config(sources), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (tmp_path / "log.jsonl").read_bytes() == (folder / "log.jsonl").read_bytes()
    assert (again.steps, again.characters, again.best_step) == (whole.steps, whole.characters, whole.best_step)


def test_muon_resumes_too(sources: Path, tmp_path: Path) -> None:
    config = _config(sources, "optimizer.kind=muon")
    _run(config, sources, tmp_path / "whole")
    with pytest.raises(_Killed):
        _run(config, sources, tmp_path / "cut", _Watcher(5))
    pretrain(config, tmp_path / "cut")
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_stopping_after_seconds_leaves_a_base_and_goes_on(sources: Path, tmp_path: Path) -> None:
    first = _run(_config(sources), sources, tmp_path, seconds=0.0)
    assert not first.finished
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "not finished" in card
    assert "not measured" in card
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert pretrain(_config(sources), tmp_path).finished


def test_a_longer_level_stretch_goes_on_before_the_decay(sources: Path, tmp_path: Path) -> None:
    _run(_config(sources, "schedule.stable_characters=4000"), sources, tmp_path / "a")
    watcher = _Watcher()
    longer = pretrain(_config(sources), tmp_path / "a", observer=watcher)
    whole = _run(_config(sources), sources, tmp_path / "b")
    assert longer.finished
    assert 0 < watcher.seen[0].step < whole.steps
    assert not watcher.seen[0].decaying
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_decay_can_be_started_at_once(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        _run(_config(sources, "schedule.stable_characters=1000000"), sources, tmp_path, _Watcher(5))
    watcher = _Watcher()
    result = pretrain(_config(sources, "schedule.stable_characters=1"), tmp_path, observer=watcher)
    assert result.finished
    assert all(progress.decaying for progress in watcher.seen)
    rates = [row["lr"] for row in _rows(tmp_path) if "lr" in row]
    assert rates[:2] == [0.5, 1.0]
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[4:]))


def test_hours_of_work_are_not_overwritten_by_another_training(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        _run(_config(sources), sources, tmp_path, _Watcher(2))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="other settings"):
        _run(_config(sources, "seed=1"), sources, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_files_of_something_else_are_left_alone(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my project", encoding="utf-8")
    for folder, what in ((tmp_path, r"README\.md"), (tmp_path / "README.md", "is a file")):
        with pytest.raises(UserError, match=what):
            _run(_config(sources), sources, folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["README.md"]
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "my project"


def test_key_leaves_out_how_long_and_how_fast(sources: Path) -> None:
    key = _config(sources).key
    same = ["schedule.stable_characters=9", "title=x", "compile=true", "threads=1", "evaluate_every=7", "checkpoint_seconds=9"]
    assert all(_config(sources, override).key == key for override in same)
    assert all(_config(sources, override).key != key for override in ["seed=3", "optimizer.lr=1", "mixture.row_loss=0.1"])


# --- what it does -----------------------------------------------------------------------------------------------------------


def test_best_weights_are_written(finished: tuple[Path, PretrainResult, _Watcher]) -> None:
    _, result, watcher = finished
    means = {step: values["bits_per_character"]["mean"] for step, values in watcher.values.items()}
    assert len(means) > 2
    assert result.best_step == min(means, key=means.__getitem__)
    assert result.measures.items() >= watcher.values[result.best_step].items()
    assert result.measures.keys() - watcher.values[result.best_step].keys() == {"dev", "passages", "beside"}
    assert result.measures["dev"]["dev"].keys() == {"zero-shot", "few-shot", "copy"}
    assert min(means.values()) < means[3]


def test_measures_are_those_of_the_written_base(sources: Path, finished: tuple[Path, PretrainResult, _Watcher]) -> None:
    folder, result, _ = finished
    config = _config(sources)
    corpus = prepare_corpus(config.corpus, folder / "corpus", None, None)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    counts = characters_by_token(corpus.tokenizer)
    for language, places in corpus.held_out.items():
        nats = characters = 0.0
        for start, end in places.tolist():
            ids = corpus.tokens[start : min(end, start + 128)].astype(np.int64)
            tokens = torch.from_numpy(ids)[None]
            with torch.no_grad():
                nats += float(model(tokens, labels=tokens).loss) * (len(ids) - 1)
            characters += int(counts[ids].sum())
        expected = result.measures["bits_per_character"][language]
        assert nats / math.log(2) / characters == pytest.approx(expected, rel=0.02)  # written in bf16


def test_progress_and_log(finished: tuple[Path, PretrainResult, _Watcher]) -> None:
    folder, result, watcher = finished
    steps = [row for row in _rows(folder) if "lr" in row]
    assert [row["step"] for row in steps] == list(range(1, result.steps + 1))
    assert [p.step for p in watcher.seen] == list(range(1, result.steps + 1))
    assert steps[-1]["characters"] == result.characters == watcher.seen[-1].characters
    assert all(p.tokens_per_second > 0 for p in watcher.seen)
    assert watcher.seen[-1].seconds_left == 0
    assert result.finished


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_loss_that_is_not_finite_ends_it(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mean_token_loss", lambda hidden, *_, **__: hidden.sum() * math.nan)
    with pytest.raises(RunError, match="no longer finite"):
        _run(_config(sources), sources, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_token_loss_is_cross_entropy(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(700, 16, generator=generator).requires_grad_()
    head = torch.randn(90, 16, generator=generator).requires_grad_()
    targets = torch.randint(0, 90, (700,), generator=generator)
    expected = torch.nn.functional.cross_entropy(hidden @ head.T, targets)
    wanted = torch.autograd.grad(expected, [hidden, head])
    loss = mean_token_loss(hidden, head, targets, dtype=dtype)
    (3 * loss).backward()
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=tolerance)
    for parameter, gradient in zip([hidden, head], wanted, strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - 3 * gradient).abs().max() <= tolerance * 3 * gradient.abs().max()
    total, right = summed_token_loss(hidden, head, targets)
    assert total / 700 == pytest.approx(float(expected.detach()), rel=1e-5)
    assert right.tolist() == ((hidden @ head.T).argmax(-1) == targets).tolist()


def test_muon_takes_the_matrices_inside() -> None:
    names = {"model.embed_tokens.weight": (9, 4), "model.layers.0.mlp.up_proj.weight": (6, 4), "model.norm.weight": (4,)}
    parameters = {name: torch.nn.Parameter(torch.ones(*shape)) for name, shape in names.items()}
    optimizer = Optimizer(parameters, OptimizerOptions(kind="muon"))
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(1.0)
    assert [key for key in optimizer.state() if key.endswith("momentum_buffer")] == [
        "model.layers.0.mlp.up_proj.weight/momentum_buffer"
    ]
    assert all(parameter.grad is None for parameter in parameters.values())


# --- the folder -------------------------------------------------------------------------------------------------------------


def test_loads_as_any_base(finished: tuple[Path, PretrainResult, _Watcher]) -> None:
    folder, _, _ = finished
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("the dog")["input_ids"][0] == tokenizer.bos_token_id
    assert model.config.eos_token_id == tokenizer.eos_token_id
    for text in ("An old dog,\n asleep", "¿Qué año?", "बूढ़ा शांत कुत्ता।"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    base = load_base(str(folder), device="cpu", precision="fp32")
    assert (base.context, base.bos, base.eos[0]) == (128, tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_card_says_what_is_needed(finished: tuple[Path, PretrainResult, _Watcher]) -> None:
    folder, result, _ = finished
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("## Text", "## Source tasks", "## Training", "## Measured on held-out text", "## Samples", "## Limits"):
        assert part in card
    for fact in ("CC0", "this test", "`source`", "`dev`", "`target`", "Apache-2.0", "dropped for leaks", "hours on", "CPU cores"):
        assert fact in card
    assert f"{result.tokens:,} tokens" in card
    assert f"{result.characters:,} characters" in card
    assert f"weights of step {result.best_step}" in card
    for language, value in result.measures["bits_per_character"].items():
        assert f"| {language} | {value:.3f} |" in card
    for name in result.measures["copy_accuracy"]:
        assert f"| {name} |" in card
    for language, value in result.measures["passages"].items():
        assert f"| {language} passage | {value:.3f} |" in card
    assert "not finished" not in card


def test_two_bases_side_by_side_on_the_same_text(
    sources: Path, finished: tuple[Path, PretrainResult, _Watcher], tmp_path: Path
) -> None:
    """Each is measured as itself and as the other's other: the figures are the same."""
    folder = tmp_path / "multilingual"
    shutil.copytree(finished[0], folder)
    corpus = json.loads((sources / "corpus.json").read_text(encoding="utf-8"))
    settings = {**SETTINGS, "corpus": {**corpus, "text": {"English": corpus["text"]["English"]}}}
    english = pretrain(
        build(PretrainConfig, settings),
        tmp_path / "english",
        text_dir=sources / "text",
        tasks_dir=sources / "tasks",
        beside=[folder],
    )
    again = pretrain(_config(sources), folder, beside=[tmp_path / "english"])
    ours, theirs = english.measures["beside"], again.measures["beside"]
    assert list(ours) == list(theirs) == ["English", "Spanish", "Hindi"]
    for language, row in ours.items():
        assert row["this base"] == pytest.approx(theirs[language]["english"], rel=1e-4)
        assert row["multilingual"] == pytest.approx(theirs[language]["this base"], rel=1e-4)
    card = (tmp_path / "english" / "README.md").read_text(encoding="utf-8")
    assert "| bits per character, held-out text | this base | multilingual |" in card
    assert f"| Hindi | {ours['Hindi']['this base']:.3f} | {ours['Hindi']['multilingual']:.3f} |" in card


def test_a_published_base_is_whole_and_nothing_else(finished: tuple[Path, PretrainResult, _Watcher], tmp_path: Path) -> None:
    folder, _, _ = finished
    for _ in range(2):  # the second time it takes the place of the first
        published = publish_base(folder, tmp_path / "base")
    assert sorted(published) == sorted((tmp_path / "base").iterdir())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert model.num_parameters() == finished[1].parameters
    assert AutoTokenizer.from_pretrained(tmp_path / "base")("the dog")["input_ids"][0] == 1
    assert (
        not {path.name for path in folder.iterdir()}
        - {path.name for path in published}
        - {"corpus", "state", "log.jsonl", "pretrain.yaml"}
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my project", encoding="utf-8")
    with pytest.raises(UserError, match="not a base's"):
        publish_base(folder, tmp_path / "mine")
    assert (tmp_path / "mine" / "README.md").read_text(encoding="utf-8") == "my project"


# --- settings ---------------------------------------------------------------------------------------------------------------


def test_unknown_setting_is_an_error_with_its_path(sources: Path) -> None:
    with pytest.raises(ConfigError) as error:
        _config(sources, "mixture.row_lose=0.3")
    assert error.value.where == "mixture.row_lose"
    assert error.value.hint == "did you mean 'row_loss'?"


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("shape.num_attention_heads=3", "shape", "even number of channels"),
        ("shape.num_key_value_heads=3", "shape", "does not divide"),
        ("shape.max_position_embeddings=64", None, "rows of 128 tokens"),
    ],
)
def test_a_shape_that_no_model_can_have(sources: Path, override: str, where: str | None, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        _config(sources, override)
    assert error.value.where == where


def test_settings_are_left_beside_the_base(sources: Path, finished: tuple[Path, PretrainResult, _Watcher]) -> None:
    assert load_pretrain_config(finished[0] / "pretrain.yaml") == _config(sources)


def test_bundled_configs_differ_in_language_alone() -> None:
    one, other = (load_pretrain_config(bundled_recipes()[name]) for name in ("multilingual", "english"))
    for name in set(PretrainConfig.model_fields) - {"title", "corpus"}:
        assert getattr(one, name) == getattr(other, name), name
    for name in set(type(one.corpus).model_fields) - {"text", "tokenizer_characters"}:
        assert getattr(one.corpus, name) == getattr(other.corpus, name), name
    read = [config.corpus.tokenizer_characters * len(config.corpus.text) for config in (one, other)]
    assert read[0] == read[1]
    assert not {*one.corpus.source_tasks} & {*one.corpus.dev_tasks, *one.corpus.target_tasks}
    assert not any(name.startswith("lr_") for name in one.corpus.source_tasks)


def test_bundled_configs_name_no_folder_of_a_machine() -> None:
    for path in bundled_recipes().values():
        text = path.read_text(encoding="utf-8")
        assert "../" not in text
        assert not any(str(value).startswith("/") for value in _leaves(load_yaml(path)))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [leaf for inner in value for leaf in _leaves(inner)] if isinstance(value, list) else [value]
