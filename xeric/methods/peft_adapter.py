"""What all adaptations made of PEFT's layers share: going on, saving, loading, merging, leaving no trace."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from xeric.bases.architecture import ArchitectureName
from xeric.bases.base import Base, keep_contiguous
from xeric.bases.tensors import read_tensors, write_tensors
from xeric.bases.tying import say_whether_tied, untie
from xeric.errors import DataError, RunError
from xeric.json_io import write_json
from xeric.methods.base import Adaptation, ParameterGroup

__all__ = ["PeftAdaptation", "linear_layers", "task_type"]

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
# PEFT has no class for encoders that write, and opens their adapters with its general one.
_TASK_TYPES: dict[ArchitectureName, str | None] = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "encoder": None}


class PeftAdaptation(Adaptation):
    """PEFT's layers, put into the base's own model; the wrapper that PEFT returns serves saving and merging only.

    Args:
        base: a base that no method is attached to.
        config: what PEFT is asked for.
        seed: of the initialisation.
        name: of the method, as messages and the log show it.

    Raises:
        ValueError: PEFT refuses; the base is as it was.
    """

    def __init__(self, base: Base, config: PeftConfig, *, seed: int, name: str) -> None:
        super().__init__(base)
        self._name = name
        # Taking off is putting the base's own modules back: it also undoes an attachment that failed half-way, and it does not
        # depend on each tuner's own way of unloading.
        self._before = [(module, dict(module._modules)) for module in base.model.modules()]
        training = {name for name, p in base.model.named_parameters() if p.requires_grad}
        self._tensor_parallel = getattr(base.model.config, "pretraining_tp", None)
        try:
            cuda = [base.device] if base.device.type == "cuda" else []
            with torch.random.fork_rng(devices=cuda), warnings.catch_warnings():
                # merge() sees to shared weights itself.
                warnings.filterwarnings("ignore", message="Model with `tie_word_embeddings=True`")
                torch.manual_seed(seed)
                self._peft: Any = get_peft_model(base.model, config)
        except BaseException:
            self.detach()
            raise
        base.model.eval()
        # Where the output layer is adapted, PEFT's own layer stands in its place.
        keep_contiguous(base.output_embeddings)
        # PEFT freezes everything but its own, also what another part of a combined method has put on before.
        self._names = [name for name, p in base.model.named_parameters() if p.requires_grad]
        for name, parameter in base.model.named_parameters():
            if parameter.requires_grad:  # PEFT leaves copies of a base's own weights, such as norms, in the base's precision
                parameter.data = parameter.data.float()
            if name in training:
                parameter.requires_grad_(True)

    @property
    def adapted(self) -> list[nn.Module]:
        """The base's own modules that PEFT's layers stand around."""
        return [module.get_base_layer() for module in self.base.model.modules() if isinstance(module, BaseTunerLayer)]

    def groups(self) -> list[ParameterGroup]:
        """Return one group: what PEFT made trainable."""
        parameters = dict(self.base.model.named_parameters())
        return [ParameterGroup(self._name, {name: parameters[name] for name in self._names})]

    def save(self, folder: Path) -> None:
        """Write weights and configuration as PEFT's own reader takes them."""
        tensors = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        # Copies: some tuners share one random basis among layers, and safetensors takes no shared memory.
        plain = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in sorted(tensors.items())
        }
        write_tensors(folder / _WEIGHTS, plain)
        # PEFT's own writer lists sets in hash order, which changes from process to process.
        config = {key: _plain(value) for key, value in sorted(self._peft.peft_config["default"].to_dict().items())}
        write_json(folder / _CONFIG, {**config, "inference_mode": True})

    def load(self, folder: Path) -> None:
        """Read back what :meth:`save` wrote.

        Raises:
            DataError: other layers, other sizes, or no weights at all.
        """
        path = folder / _WEIGHTS
        tensors = read_tensors(path, f"{self._name} weights")
        expected = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
            raise DataError(f"holds a {self._name} of other layers or other sizes", where=str(path))
        set_peft_model_state_dict(self._peft, tensors)

    def detach(self) -> None:
        """Put the base's own modules back where PEFT's stand; what other methods have put on stays."""
        for module, children in self._before:
            for name, child in children.items():
                if isinstance(module._modules.get(name), BaseTunerLayer):
                    module._modules[name] = child
        self._leave()

    def check_mergeable(self) -> None:
        """Check that the base's weights take what was trained.

        Raises:
            RunError: they are kept in four bits: rounding would change what the model answers.
        """
        if self.base.precision == "4bit":
            raise RunError("four-bit weights take no merged adapter", hint="export the adapter as it is")

    def merge(self) -> None:
        """Fold PEFT's layers into the base's weights; weights that another layer shares are copied first, so it keeps its own.

        Raises:
            RunError: as :meth:`check_mergeable` does; nothing was changed.
        """
        self.check_mergeable()
        untie(self.base, self.adapted)
        self._peft.merge_and_unload(safe_merge=True)
        say_whether_tied(self.base)
        self._leave()

    def _leave(self) -> None:
        model = self.base.model
        if hasattr(model, "peft_config"):
            del model.peft_config
        if self._tensor_parallel is not None:  # PEFT sets it to 1
            model.config.pretraining_tp = self._tensor_parallel
        model.requires_grad_(False).eval()


def task_type(base: Base) -> str | None:
    """Return what PEFT calls the kind of model that a base is."""
    return _TASK_TYPES[base.architecture.name]


def linear_layers(model: nn.Module) -> list[str]:
    """Return the last parts of the names of a model's linear maps, for messages."""
    return sorted({n.rpartition(".")[2] for n, m in model.named_modules() if hasattr(m, "weight") and m.weight.ndim == 2})


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in sorted(value.items())}
    return json.loads(json.dumps(value, default=str))
