"""``--to peft``: what plain PEFT opens computes what the run does; what PEFT cannot express is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import xeric
from tests import tiny
from tests.exporting.asking import INPUTS, ids_of, printed_by_example, run_text, run_texts, texts_of
from tests.exporting.conftest import MakeRun, SaveRun
from xeric.errors import UnknownNameError, UserError
from xeric.exporting.measuring import Difference
from xeric.json_io import read_json
from xeric.methods.peft_names import TUNERS
from xeric.run.adapted import open_adapted

BaseFolder = Callable[[str], Path]
TUNED = ["lora", *(f"peft:{name}" for name in TUNERS)]
PREFIXES: list[dict[str, Any]] = [
    {"level": level, "start": start} for level in ("kv", "input") for start in ("instruction", "random")
]


def opened(folder: Path, base: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(base)
    return AutoTokenizer.from_pretrained(base), peft.PeftModel.from_pretrained(model, str(folder)).eval()


def assert_same(run: Path, folder: Path, base: Path) -> None:
    assert texts_of(folder, *opened(folder, base)) == run_texts(run)


@pytest.mark.parametrize("method", TUNED)
def test_an_adapter_of_layers_computes_the_same_in_plain_peft(
    method: str, save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    run = save_run(base_folder("llama"), method, scale=0.05)
    export = xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert export.description["difference"]["logit"] < 1e-4
    assert_same(run, tmp_path / "out", base_folder("llama"))


@pytest.mark.parametrize(
    ("shape", "options"),
    [(shape, options) for shape in ("llama", "gemma3") for options in PREFIXES]
    + [(shape, PREFIXES[0]) for shape in ("gpt2", "bloom", "qwen3", "mistral")],
)
def test_a_prefix_computes_the_same_in_plain_peft(
    shape: str, options: dict[str, Any], save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    """Also behind a window shorter than the prefix, and whether the prefix began as BOS or the row keeps its own."""
    run = save_run(base_folder(shape), "prefix", **options)
    export = xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert export.description["difference"]["logit"] < 1e-4
    assert_same(run, tmp_path / "out", base_folder(shape))
    layout = json.loads((tmp_path / "out" / "prompt.json").read_text(encoding="utf-8"))["tasks"]["words"]
    assert layout["begin"] == ([] if options["start"] == "instruction" else [1])
    kind = {"kv": "PREFIX_TUNING", "input": "PROMPT_TUNING"}[options["level"]]
    assert peft.PeftConfig.from_pretrained(str(tmp_path / "out")).peft_type == kind


def test_the_example_of_the_card_prints_the_runs_text(
    make_run: MakeRun, base_folder: BaseFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(base_folder("llama"), "lora")
    xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert printed_by_example(tmp_path / "out", monkeypatch) == run_text(run)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    assert record["fingerprint"] in card
    assert not any(json.loads(line)["input"] in card for line in (run / "predictions.jsonl").read_text("utf-8").splitlines())
    assert "language:\n- en\n" in card
    score = record["tasks"]["words"]["scores"]["chrf"]
    assert f"| words | {score['score']:.1f} [{score['low']:.1f}, {score['high']:.1f}] |" in card


def test_penalties_that_a_base_names_play_no_part(save_run: SaveRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.write_base(tmp_path / "base", "llama")
    plain = save_run(base, "lora", scale=0.0)
    xeric.export(plain, "peft", tmp_path / "plain", device="cpu")
    text = printed_by_example(tmp_path / "plain", monkeypatch)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.generation_config.repetition_penalty = 1.5
    model.generation_config.no_repeat_ngram_size = 2
    model.save_pretrained(base)
    run = save_run(base, "lora", scale=0.0)
    export = xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert export.description["difference"]["same_texts"] == export.description["difference"]["texts"]
    assert printed_by_example(tmp_path / "out", monkeypatch) == run_text(run) == text


@pytest.mark.parametrize("to", ["peft", "merged"])
def test_the_example_ends_where_the_run_does_and_not_where_the_published_base_does(
    to: Any, save_run: SaveRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base whose ``generation_config.json`` knows nothing of the tokenizer's end token, which runs are trained to end with."""
    base = tiny.write_base(tmp_path / "base", "llama")
    xeric.export(save_run(base, "lora", scale=0.0), "peft", tmp_path / "first", device="cpu")
    model = AutoModelForCausalLM.from_pretrained(base)
    asked = torch.tensor([ids_of(tmp_path / "first", AutoTokenizer.from_pretrained(base), "Put an input here.")])
    answered = model.generate(input_ids=asked, max_new_tokens=12, do_sample=False)[0, asked.shape[1] :]
    with torch.no_grad():  # where the model gave its fourth token, it ends now
        model.lm_head.weight[2] = 1.01 * model.lm_head.weight[answered[3]]
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=[5], pad_token_id=0)
    model.save_pretrained(base)
    run = save_run(base, "lora", scale=0.0)
    xeric.export(run, to, tmp_path / "out", device="cpu")
    layout = json.loads((tmp_path / "out" / "prompt.json").read_text(encoding="utf-8"))
    assert layout["tasks"]["words"]["end_tokens"] == [2, 5]
    text = run_text(run)
    assert text != AutoTokenizer.from_pretrained(base).decode(answered, skip_special_tokens=True).strip(), "it ends early"
    assert printed_by_example(tmp_path / "out", monkeypatch) == text


def test_a_prefix_stands_for_the_bos_that_a_chat_template_writes(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.write_base(tmp_path / "chat", "llama", chat_template=tiny.chat_template())
    run = make_run(base, {"name": "prefix"}, prompt={"template": "chat", "demonstrations": 1})
    xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert printed_by_example(tmp_path / "out", monkeypatch) == run_text(run)
    adapted = open_adapted(run, device="cpu", precision="fp32")
    encoded = adapted.base.encoder("words").decoding_rows(adapted.prompts["words"], [("", INPUTS[0])], 12)
    expected = [*encoded.prefixes[-1].ids, *encoded.rows[0].ids]
    assert ids_of(tmp_path / "out", adapted.base.tokenizer, INPUTS[0]) == expected


def test_one_of_several_tasks_has_to_be_named_where_each_has_a_prefix(
    save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    run = save_run(base_folder("llama"), "prefix", ("words", "others"))
    with pytest.raises(UserError, match="a prefix for each of 2 tasks") as caught:
        xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert "--task: words, others" in str(caught.value.hint)
    with pytest.raises(UnknownNameError, match="unknown task 'wrds'"):
        xeric.export(run, "peft", tmp_path / "out", task="wrds", device="cpu")
    xeric.export(run, "peft", tmp_path / "out", task="others", device="cpu")
    asked = texts_of(tmp_path / "out", *opened(tmp_path / "out", base_folder("llama")), task="others")
    assert asked == run_texts(run, "others")
    shared = save_run(base_folder("llama"), "prefix", ("words", "others"), scope="shared", text="Turn it around.")
    xeric.export(shared, "peft", tmp_path / "out", device="cpu")
    for task in ("words", "others"):
        asked = texts_of(tmp_path / "out", *opened(tmp_path / "out", base_folder("llama")), task=task)
        assert asked == run_texts(shared, task)


def test_of_lora_and_prefix_lora_is_folded_into_a_base_beside(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("llama"), "combined", embedding=False)
    export = xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert export.description["folded"] == ["lora"]
    assert "whose weights hold lora" in " ".join(export.notes)
    assert_same(run, tmp_path / "out", tmp_path / "out" / "base")


def test_what_is_left_out_is_said_and_measured(save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    run = save_run(base_folder("llama"), "combined")
    with pytest.raises(UserError, match="cannot express fused embeddings") as caught:
        xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert "--without embedding" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()
    export = xeric.export(run, "peft", tmp_path / "out", without=["embedding"], device="cpu")
    assert export.description["left_out"] == ["embedding"]
    assert export.description["difference"]["logit"] > 0.01
    assert "Left out, so that this is not the model of the run: embedding." in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_an_adapter_behind_another_stage_comes_with_its_base(make_run: MakeRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    stage = {"tasks": ["shabd"], "method": "lora", "train": {"max_steps": 2, "lr": 3e-2}}
    run = make_run(base_folder("llama"), {"name": "prefix"}, stages=[stage])
    export = xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert "the stages before the run" in " ".join(export.notes)
    assert_same(run, tmp_path / "out", tmp_path / "out" / "base")


def test_the_base_beside_is_written_on_request_and_rounded_where_asked(
    save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    run = save_run(base_folder("gemma3"), "lora", scale=0.05)
    export = xeric.export(run, "peft", tmp_path / "out", with_base=True, precision="bf16", device="cpu")
    assert 1e-4 < export.description["difference"]["logit"] < 0.1 * export.description["difference"]["spread"]
    assert json.loads((tmp_path / "out" / "base" / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("method", "complaint", "hint"),
    [
        ("bottleneck", "PEFT has no bottleneck adapters", "xeric generate"),
        ("embedding", "cannot express fused embeddings", "xeric generate"),
        ("full", "full fine-tuning changes every weight", "--to merged"),
        ("none", "nothing was trained", "--to merged"),
    ],
)
def test_methods_that_peft_cannot_express_are_refused(
    method: str, complaint: str, hint: str, save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path
) -> None:
    run = save_run(base_folder("llama"), method)
    with pytest.raises(UserError, match=complaint) as caught:
        xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_computes_something_else_is_not_kept(
    save_run: SaveRun, base_folder: BaseFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = save_run(base_folder("llama"), "lora")
    monkeypatch.setattr("xeric.exporting.peft.measure", lambda *_, **__: Difference(0.5, 1.0, 0, 4))
    with pytest.raises(xeric.errors.RunError, match="PEFT computes something else than the run"):
        xeric.export(run, "peft", tmp_path / "out", device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-lora"]


def test_what_the_run_did_against_repetition_is_told(make_run: MakeRun, base_folder: BaseFolder, tmp_path: Path) -> None:
    decoding = {"max_new_tokens": 4, "repetition_penalty": 1.5, "no_repeat_ngram": 2}
    for folder, more in (("plain", {}), ("penalised", {"decode": decoding})):
        xeric.export(make_run(base_folder("llama"), "lora", **more), "peft", tmp_path / folder, device="cpu")
    plain, penalised = (read_json(tmp_path / folder / "prompt.json") for folder in ("plain", "penalised"))
    (layout,) = penalised["tasks"].values()
    assert (layout["repetition_penalty"], layout["no_repeat_ngram"]) == (1.5, 2)
    assert "repetition_penalty" not in json.dumps(plain)
    said = "decoded with no_repeat_ngram=2, repetition_penalty=1.5; the example below, and the texts compared, are without"
    assert said in (tmp_path / "penalised" / "README.md").read_text(encoding="utf-8")
    assert "decoded with" not in (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
