"""Merging where embedding and output layer share their weights: the model answers as before, whichever of the two was adapted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import attached, tiny
from xeric.bases.base import Base
from xeric.bases.loading import load_base
from xeric.bases.tying import weights_kept
from xeric.errors import ConfigError
from xeric.methods import METHODS
from xeric.methods.base import Adaptation, method_options
from xeric.methods.peft_names import TUNERS

IDS = torch.tensor([[5, 9, 40, 77, 12, 200, 3, 8]])
ENDS = {"llama": ("lm_head", "embed_tokens"), "gemma3": ("lm_head", "embed_tokens"), "gpt2": ("lm_head", "wte")}
MERGED = ["lora", *(f"peft:{name}" for name, tuner in TUNERS.items() if tuner.merges)]
# PEFT puts these on embeddings; the others it refuses there, in a sentence.
ON_EMBEDDINGS = {"lora", "peft:dora", "peft:hira", "peft:ln_tuning", "peft:oft", "peft:osf", "peft:tinylora"}


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    root = tmp_path_factory.mktemp("tied")

    def opened(shape: str) -> Base:
        if not (root / shape).is_dir():
            tiny.write_base(root / shape, shape, tie_word_embeddings=True)
        base = load_base(str(root / shape), device="cpu", precision="fp32")
        assert base.output_embeddings.weight is base.input_embeddings.weight
        return base

    return opened


def attach(base: Base, name: str, targets: list[str]) -> Adaptation:
    extra = {"feedforward_modules": []} if name == "peft:ia3" else {}
    options: dict[str, Any] = {**attached.SMALL_TUNERS.get(name, {}), "target_modules": targets, **extra}
    chosen = {"targets": targets} if name == "lora" else {"options": options}
    return METHODS.get(name).attach(base, method_options({"name": name, **chosen}), seed=0)


@torch.no_grad()
def logits(base: Base) -> torch.Tensor:
    logits: torch.Tensor = base.model(input_ids=IDS).logits
    return logits


@pytest.mark.parametrize("name", MERGED)
def test_merging_into_one_end_leaves_the_other_as_it_was(name: str, tied: Callable[[str], Base]) -> None:
    for end in range(2 if name in ON_EMBEDDINGS else 1):
        base = tied("llama")
        plain = logits(base)
        adaptation = attach(base, name, [ENDS["llama"][end]])
        attached.stir(adaptation, 0.05)
        trained = logits(base)
        if (name, end) != ("peft:osf", 1):  # PEFT's layer passes an embedding through
            assert not torch.allclose(trained, plain, atol=1e-3), "nothing was adapted, so nothing is tested"
        adaptation.merge()
        torch.testing.assert_close(logits(base), trained, rtol=1e-4, atol=1e-4)
        again = attach(base, name, ["q_proj"])  # a further stage goes on from what was merged
        again.detach()
        torch.testing.assert_close(logits(base), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in MERGED if name not in ON_EMBEDDINGS])
def test_what_cannot_be_put_on_an_embedding_is_refused(name: str, tied: Callable[[str], Base]) -> None:
    base = tied("llama")
    with pytest.raises(ConfigError, match="cannot be put on"):
        attach(base, name, ["embed_tokens"])


@pytest.mark.parametrize("shape", ["gemma3", "gpt2"])
@pytest.mark.parametrize("name", ["lora", "peft:dora", "peft:oft"])
def test_both_ends_at_once(name: str, shape: str, tied: Callable[[str], Base]) -> None:
    if name == "peft:oft" and shape == "gpt2":
        pytest.skip("PEFT's OFT takes no Conv1D layers, and this family has them")
    base = tied(shape)
    adaptation = attach(base, name, list(ENDS[shape]))
    attached.stir(adaptation, 0.05)
    trained = logits(base)
    adaptation.merge()
    torch.testing.assert_close(logits(base), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["peft:hira", "peft:tinylora"])
def test_a_scaled_embedding_is_refused_where_peft_forgets_the_scale(name: str, tied: Callable[[str], Base]) -> None:
    base = tied("gemma3")
    plain = logits(base)
    with pytest.raises(ConfigError, match="factor") as caught:
        attach(base, name, ["embed_tokens"])
    assert caught.value.where == "method.options.target_modules"
    assert torch.equal(logits(base), plain)


@pytest.mark.parametrize("name", ["lora", "peft:ln_tuning"])
def test_a_merged_model_is_read_again_as_it_was_saved(name: str, tied: Callable[[str], Base], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = tied("llama")
    adaptation = attach(base, name, ["lm_head"])
    attached.stir(adaptation, 0.05)
    adaptation.merge()
    base.model.save_pretrained(tmp_path)
    with torch.no_grad():
        read = AutoModelForCausalLM.from_pretrained(tmp_path)(input_ids=IDS).logits
    torch.testing.assert_close(read, logits(base), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "peft:ln_tuning"])
def test_the_base_gets_its_shared_weights_back(name: str, tied: Callable[[str], Base]) -> None:
    base = tied("llama")
    plain, names = logits(base), list(base.model.state_dict())
    config = base.model.config.to_dict()
    with weights_kept(base):
        adaptation = attach(base, name, ["lm_head", "q_proj"])
        attached.stir(adaptation, 0.05)
        adaptation.merge()
        assert base.output_embeddings.weight is not base.input_embeddings.weight
    assert base.output_embeddings.weight is base.input_embeddings.weight
    assert list(base.model.state_dict()) == names
    assert base.model.config.to_dict() == config
    assert torch.equal(logits(base), plain)


def test_layers_that_share_nothing_stay_in_their_place(tied: Callable[[str], Base]) -> None:
    base = tied("llama")
    before = dict(base.model.named_parameters())
    adaptation = attach(base, "lora", ["q_proj"])
    adaptation.merge()
    after = dict(base.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert base.model.config.tie_word_embeddings is True
