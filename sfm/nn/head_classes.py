"""From a head's name to its class: the core's, those of plugins, and those in closed form."""

from __future__ import annotations

from sfm.nn.head import CORE, CORE_HEADS, KERNEL, RANDOM_FEATURES, Head
from sfm.nn.kernel import KernelHead
from sfm.nn.random_features import RandomFeaturesHead
from sfm.nn.tensor_heads import TENSOR_HEADS
from sfm.registry import find


def head_class(part: str) -> type[Head]:
    """The class of the head `plugin/quantity` or `core/name`.

    Raises:
        PluginError: there is none.
    """
    plugin, _, name = part.partition("/")
    if part == KERNEL:
        return KernelHead
    if part == RANDOM_FEATURES:
        return RandomFeaturesHead
    heads = {**CORE_HEADS, **TENSOR_HEADS}
    if plugin == CORE and name in heads:
        return heads[name]
    head: type[Head] = find("heads", part).load()
    return head
