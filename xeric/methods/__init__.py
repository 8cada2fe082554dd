"""Ways of adapting a base, by name. Importing this package imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xeric.methods.peft_names import TUNERS, UNSUPPORTED
from xeric.registry import Registry

if TYPE_CHECKING:
    from xeric.methods.base import Method

__all__ = ["METHODS", "PARTS", "unsupported_methods"]

METHODS: Registry[type[Method]] = Registry("method", "xeric.methods")
METHODS.register("none", "xeric.methods.untrained:Untrained", "the base as it is: nothing is trained")
METHODS.register("full", "xeric.methods.full:Full", "full fine-tuning: every parameter is trained")
METHODS.register("lora", "xeric.methods.lora:Lora", "low-rank adaptation of the linear layers")
METHODS.register("bottleneck", "xeric.methods.bottleneck:Bottleneck", "small non-linear layers on the sub-layers' outputs")
METHODS.register("prefix", "xeric.methods.prefix:Prefix", "a learned prompt prefix: vectors, or keys and values of every layer")
METHODS.register(
    "adaptive_prefix", "xeric.methods.adaptive_prefix:AdaptivePrefix", "a prompt prefix that depends on the instance"
)
METHODS.register("embedding", "xeric.methods.embedding:FusedEmbedding", "gated position and segment embeddings beside the base's")
METHODS.register("picture", "xeric.methods.picture:PicturePrefix", "a prefix made of each instance's picture; the base is frozen")
METHODS.register("combined", "xeric.methods.combined:Combined", "the paper's: LoRA, prefix, fused embeddings, task weights")
for _name, _tuner in TUNERS.items():
    METHODS.register(f"peft:{_name}", f"xeric.methods.peft_tuners:{_name}", _tuner.summary)

PARTS: Registry[type[Method]] = Registry("part of the combined method", "xeric.parts")
"""What ``combined`` can be made of, in the order in which it is attached: each part finds the base with those before it."""

PARTS.register("prefix", "xeric.methods.prefix:Prefix", "options of the prompt prefix")
PARTS.register("picture", "xeric.methods.picture:PicturePrefix", "options of a prefix made of each instance's picture")
PARTS.register("embedding", "xeric.methods.embedding:FusedEmbedding", "options of the fused embeddings")
PARTS.register("lora", "xeric.methods.lora:Lora", "options of LoRA")


def unsupported_methods() -> dict[str, str]:
    """Return what the PEFT library has and Xeric does not offer, by the name it would have, each with the reason."""
    return {f"peft:{name}": reason for name, reason in UNSUPPORTED.items()}
