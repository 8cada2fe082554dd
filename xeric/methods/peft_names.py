"""PEFT's tuners by name: what Xeric offers as ``peft:NAME``, and what it does not, with the reason. Data only; no torch.

Offered is every tuner that needs a base and rows and nothing else, starts at the base's own output (unless noted), trains
through the one loop, and leaves the base as it was. Learning rates are starting points, chosen by how far one step moves
the weights; they were not searched for, so a study tunes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TUNERS", "UNSUPPORTED", "Tuner"]


@dataclass(frozen=True)
class Tuner:
    """One of PEFT's tuners.

    Attributes:
        config: name of its configuration class in PEFT.
        summary: one line about it, with its source.
        lr: documented learning rate where the user gives none.
        defaults: options in which Xeric differs from PEFT.
        fixed: options that make it this tuner; not for the user to set.
        starts_at_base: whether step 0 is exactly the base.
        seeded: whether its initialisation depends on a seed.
        merges: whether it can be folded into the weights of every base.
        on_conv1d: whether PEFT can put it on GPT-2's transposed linear layers (``Conv1D``).
        on_scaled_embedding: whether PEFT minds that an embedding multiplies what it looks up (Gemma's does).
    """

    config: str
    summary: str
    lr: float = 1e-3
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    starts_at_base: bool = True
    seeded: bool = True
    merges: bool = True
    on_conv1d: bool = True
    on_scaled_embedding: bool = True


_FAMILY = {"target_modules": None}  # PEFT's own choice of modules for the family, instead of every linear layer

TUNERS: dict[str, Tuner] = {
    "dora": Tuner(
        "LoraConfig",
        "LoRA with the magnitude of each output apart (Liu et al. 2024, arXiv 2402.09353)",
        lr=5e-4,
        defaults={"r": 16, "lora_alpha": 32},
        fixed={"use_dora": True},
    ),
    "beft": Tuner(
        "BeftConfig", "added biases only (arXiv 2509.15974); not mergeable", lr=5e-3, merges=False, on_conv1d=False, seeded=False
    ),
    "boft": Tuner(
        "BOFTConfig", "orthogonal butterfly factors (Liu et al. 2023, arXiv 2311.06243)", on_conv1d=False, seeded=False
    ),
    "c3a": Tuner(
        "C3AConfig",
        "block-circular convolutions (Chen et al. 2024, arXiv 2407.19342)",
        lr=1e-2,
        defaults={"init_weights": True},
        on_conv1d=False,
        seeded=False,
    ),
    "deft": Tuner("DeftConfig", "removes a subspace and injects a low-rank part (PEFT's DEFT)"),
    "delora": Tuner(
        "DeloraConfig", "low-rank with bounded, decoupled strength (Bini et al. 2025, arXiv 2503.18225)", on_conv1d=False
    ),
    "fourierft": Tuner(
        "FourierFTConfig",
        "a few coefficients of the update's spectrum (Gao et al. 2024, arXiv 2405.03003)",
        lr=1e-2,
        defaults={"init_weights": True},
        seeded=False,
    ),
    "frod": Tuner(
        "FrodConfig",
        "sparse rotations in a basis that layers share (doi 10.1609/aaai.v40i31.39813)",
        defaults={"progressbar": False},
        seeded=False,
    ),
    "glora": Tuner(
        "GloraConfig", "generalised LoRA on weights and biases (Chavan et al. 2023, arXiv 2306.07967)", on_conv1d=False
    ),
    "gralora": Tuner("GraloraConfig", "LoRA in blocks of the matrix (Jung et al. 2025, arXiv 2505.20355)", lr=5e-4),
    "hira": Tuner(
        "HiraConfig",
        "low-rank factor times the base's weight, entry by entry (Huang et al. 2025, ICLR)",
        on_scaled_embedding=False,
    ),
    "hra": Tuner("HRAConfig", "chains of Householder reflections (Yuan et al. 2024, arXiv 2405.17484)", on_conv1d=False),
    "ia3": Tuner(
        "IA3Config",
        "scales keys, values and feed-forward channels (Liu et al. 2022, arXiv 2205.05638)",
        3e-3,
        _FAMILY,
        seeded=False,
    ),
    "lily": Tuner(
        "LilyConfig",
        "low-rank with experts shared across layers (arXiv 2407.09946); not mergeable",
        merges=False,
        on_conv1d=False,
    ),
    "ln_tuning": Tuner(
        "LNTuningConfig", "the norms' own weights (Zhao et al. 2023, arXiv 2312.11420)", 3e-3, _FAMILY, seeded=False
    ),
    "loha": Tuner(
        "LoHaConfig", "Hadamard products of low-rank matrices (Hyeon-Woo et al. 2021, arXiv 2108.06098)", on_conv1d=False
    ),
    "lokr": Tuner("LoKrConfig", "Kronecker products (Edalati et al. 2022, arXiv 2212.10650)", on_conv1d=False),
    "miss": Tuner(
        "MissConfig",
        "one matrix repeated in shards (Kang and Yin 2024, arXiv 2409.15371)",
        lr=5e-4,
        on_conv1d=False,
        seeded=False,
    ),
    "oft": Tuner(
        "OFTConfig", "block-diagonal orthogonal factors (Qiu et al. 2023, arXiv 2306.07280)", on_conv1d=False, seeded=False
    ),
    "osf": Tuner(
        "OSFConfig",
        "the small singular directions of each weight (Nayak et al. 2025, arXiv 2504.07097)",
        lr=1e-4,
        on_conv1d=False,
        seeded=False,
    ),
    "peanut": Tuner("PeanutConfig", "non-linear function of the base's weight (arXiv 2410.01870)", on_conv1d=False),
    "psoft": Tuner(
        "PsoftConfig", "orthogonal factors inside a principal subspace (openreview.net FSHrinMArK)", on_conv1d=False, seeded=False
    ),
    "pvera": Tuner("PveraConfig", "VeRA with a learned distribution (arXiv 2512.07703)", lr=1e-2, seeded=False),
    "randlora": Tuner(
        "RandLoraConfig", "learned sums of fixed random bases (Albert et al. 2025, arXiv 2502.00987)", lr=5e-4, seeded=False
    ),
    "road": Tuner(
        "RoadConfig",
        "rotations of pairs of outputs (Liao and Monz 2024, arXiv 2409.00119)",
        lr=3e-3,
        on_conv1d=False,
        seeded=False,
    ),
    "shira": Tuner(
        "ShiraConfig",
        "a sparse set of the weight's own entries (Bhardwaj et al. 2024, arXiv 2406.13175)",
        lr=5e-4,
        on_conv1d=False,
        seeded=False,
    ),
    "supertuning": Tuner(
        "SupertuningConfig", "the weight's largest entries, 1% of them (arXiv 2607.09287)", on_conv1d=False, seeded=False
    ),
    "tinylora": Tuner(
        "TinyLoraConfig",
        "one tiny vector in the weight's singular basis (arXiv 2602.04118)",
        lr=5e-3,
        on_scaled_embedding=False,
        seeded=False,
    ),
    "unilora": Tuner(
        "UniLoraConfig",
        "one vector for all layers' LoRA (arXiv 2506.00799); starts near the base, not at it",
        lr=5e-3,
        starts_at_base=False,
    ),
    "vblora": Tuner(
        "VBLoRAConfig",
        "LoRA from a bank of shared vectors (Li et al. 2024, arXiv 2405.15179); starts near the base, not at it",
        starts_at_base=False,
    ),
    "vera": Tuner(
        "VeraConfig",
        "scaling vectors around shared random matrices (Kopiczko et al. 2023, arXiv 2310.11454)",
        lr=1e-2,
        seeded=False,
    ),
    "waveft": Tuner(
        "WaveFTConfig", "a few wavelet coefficients of the update (Bilican et al. 2025, arXiv 2505.12532)", lr=5e-3, seeded=False
    ),
}

_PREFIX = "puts virtual tokens before the input; the method `prefix` does that inside the shared prefix"
_CHANGES_BASE = "replaces the base's own weights by what its start leaves of them, so the base could not be given back"
_STATISTICS = "needs statistics of a data set gathered before training"

UNSUPPORTED: dict[str, str] = {
    "lora": "is Xeric's own method lora",
    "adalora": "moves its ranks between layers by calls inside the training loop, which knows no method",
    "adamss": "needs scikit-learn, which Xeric does not require",
    "adaption_prompt": "exists for Llama and Mistral layers only",
    "alora": "needs the tokens that invoke it",
    "arrow": "needs trained adapters to choose among",
    "bdlora": "shards LoRA for tensor-parallel serving; on one device it is method lora with less freedom",
    "cartridge": _PREFIX,
    "corda": _STATISTICS,
    "cpt": "needs token lists of the examples in its prompt",
    "eva": _STATISTICS,
    "kasa": _CHANGES_BASE,
    "loftq": "needs a quantised base and replaces its weights",
    "lora_ga": "needs gradients over a data set gathered before training",
    "monteclora": "needs a regulariser of its own in the loss",
    "multitask_prompt_tuning": "needs task numbers and prompts trained before on source tasks",
    "olora": _CHANGES_BASE,
    "p_tuning": _PREFIX,
    "pissa": _CHANGES_BASE,
    "poly": "needs a task number with every row",
    "prefix_tuning": _PREFIX,
    "prompt_tuning": _PREFIX,
    "qalora": "needs a base quantised by GPTQ",
    "rslora": "is method lora with scale alpha/sqrt(r)",
    "shadow": "needs a second model beside the base",
    "trainable_tokens": "needs the list of tokens whose embeddings train",
    "velora": "compresses activations for backward and gives approximate gradients",
    "xlora": "needs trained adapters to mix",
}
