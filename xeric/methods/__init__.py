"""Ways of adapting a base, by name. Importing this package imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xeric.registry import Registry

if TYPE_CHECKING:
    from xeric.methods.base import Method

__all__ = ["METHODS"]

METHODS: Registry[type[Method]] = Registry("method")
METHODS.register("none", "xeric.methods.untrained:Untrained", "the base as it is: nothing is trained")
METHODS.register("full", "xeric.methods.full:Full", "full fine-tuning: every parameter is trained")
METHODS.register("lora", "xeric.methods.lora:Lora", "low-rank adaptation of the linear layers")
