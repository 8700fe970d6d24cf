"""Names that are bound late, so that imports can point one way.

``tensors``: the public functions on Tensors; ``arrays``: the bare kernels on ndarrays. A rule
gets one of the two as ``xp``. ``engine``: what a Tensor's methods need from the modules above it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinygrad_bn.graph.tensor import Tensor


class _Arrays(SimpleNamespace):
    """Kernels by name; what is no row (dtypes, constants, creation) comes from NumPy."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class _Tensors:
    """Public functions by name."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...


tensors = _Tensors()
arrays = _Arrays()
engine = SimpleNamespace()
