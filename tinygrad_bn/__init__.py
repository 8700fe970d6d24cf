"""tinygrad_bn: an autodiff micro-framework on NumPy whose graph is derived, checked and drawn.

The package is an array API namespace (standard 2024.12) of differentiable tensors.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from numpy import (
    bool as bool,
    complex64 as complex64,
    complex128 as complex128,
    e as e,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    inf as inf,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    nan as nan,
    newaxis as newaxis,
    pi as pi,
    uint8 as uint8,
    uint16 as uint16,
    uint32 as uint32,
    uint64 as uint64,
)

from tinygrad_bn.functions.activations import (
    dropout as dropout,
    elu as elu,
    gelu as gelu,
    leaky_relu as leaky_relu,
    log_sigmoid as log_sigmoid,
    relu as relu,
    sigmoid as sigmoid,
    silu as silu,
    softplus as softplus,
    softsign as softsign,
)
from tinygrad_bn.functions.convolution import (
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    conv1d as conv1d,
    conv2d as conv2d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
)
from tinygrad_bn.functions.creation import (
    __array_namespace_info__ as __array_namespace_info__,
    arange as arange,
    asarray as asarray,
    can_cast as can_cast,
    empty as empty,
    empty_like as empty_like,
    eye as eye,
    finfo as finfo,
    from_dlpack as from_dlpack,
    full as full,
    full_like as full_like,
    iinfo as iinfo,
    isdtype as isdtype,
    linspace as linspace,
    meshgrid as meshgrid,
    ones as ones,
    ones_like as ones_like,
    result_type as result_type,
    zeros as zeros,
    zeros_like as zeros_like,
)
from tinygrad_bn.functions.losses import (
    binary_cross_entropy as binary_cross_entropy,
    cross_entropy as cross_entropy,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
    one_hot as one_hot,
)
from tinygrad_bn.functions.manipulation import (
    broadcast_arrays as broadcast_arrays,
    broadcast_shapes as broadcast_shapes,
    diff as diff,
    nonzero as nonzero,
    pad as pad,
    unique_all as unique_all,
    unique_counts as unique_counts,
    unique_inverse as unique_inverse,
    unique_values as unique_values,
    unstack as unstack,
)
from tinygrad_bn.functions.normalisation import (
    batch_norm as batch_norm,
    group_norm as group_norm,
    instance_norm as instance_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
    standardize as standardize,
)
from tinygrad_bn.functions.softmax import (
    gumbel_softmax as gumbel_softmax,
    hardmax as hardmax,
    log_softmax as log_softmax,
    logsumexp as logsumexp,
    softmax as softmax,
    softmin as softmin,
    sparsemax as sparsemax,
)
from tinygrad_bn.functions.statistics import (
    RunningStats as RunningStats,
    mean as mean,
    moments as moments,
    std as std,
    var as var,
)
from tinygrad_bn.primitives.contraction import (
    einsum as einsum,
    matmul as matmul,
    tensordot as tensordot,
    vecdot as vecdot,
)
from tinygrad_bn.primitives.elementwise import (
    abs as abs,
    acos as acos,
    acosh as acosh,
    add as add,
    asin as asin,
    asinh as asinh,
    atan as atan,
    atan2 as atan2,
    atanh as atanh,
    bitwise_and as bitwise_and,
    bitwise_invert as bitwise_invert,
    bitwise_left_shift as bitwise_left_shift,
    bitwise_or as bitwise_or,
    bitwise_right_shift as bitwise_right_shift,
    bitwise_xor as bitwise_xor,
    ceil as ceil,
    clip as clip,
    conj as conj,
    copysign as copysign,
    cos as cos,
    cosh as cosh,
    divide as divide,
    equal as equal,
    exp as exp,
    expm1 as expm1,
    floor as floor,
    floor_divide as floor_divide,
    greater as greater,
    greater_equal as greater_equal,
    hypot as hypot,
    imag as imag,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    less as less,
    less_equal as less_equal,
    log as log,
    log10 as log10,
    log1p as log1p,
    log2 as log2,
    logaddexp as logaddexp,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    maximum as maximum,
    minimum as minimum,
    multiply as multiply,
    negative as negative,
    nextafter as nextafter,
    not_equal as not_equal,
    positive as positive,
    pow as pow,
    real as real,
    reciprocal as reciprocal,
    remainder as remainder,
    round as round,
    sign as sign,
    signbit as signbit,
    sin as sin,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    stop_gradient as stop_gradient,
    subtract as subtract,
    tan as tan,
    tanh as tanh,
    trunc as trunc,
    where as where,
)
from tinygrad_bn.primitives.indexing import (
    take as take,
    take_along_axis as take_along_axis,
)
from tinygrad_bn.primitives.movement import (
    astype as astype,
    broadcast_to as broadcast_to,
    concat as concat,
    expand_dims as expand_dims,
    flip as flip,
    matrix_transpose as matrix_transpose,
    moveaxis as moveaxis,
    permute_dims as permute_dims,
    repeat as repeat,
    reshape as reshape,
    roll as roll,
    squeeze as squeeze,
    stack as stack,
    tile as tile,
    tril as tril,
    triu as triu,
)
from tinygrad_bn.primitives.reduction import (
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    count_nonzero as count_nonzero,
    cumulative_prod as cumulative_prod,
    cumulative_sum as cumulative_sum,
    max as max,
    min as min,
    prod as prod,
    sum as sum,
)
from tinygrad_bn.primitives.sorting import (
    argsort as argsort,
    searchsorted as searchsorted,
    sort as sort,
)
from tinygrad_bn.graph import interop as _interop  # noqa: F401  (NumPy's protocols)
from tinygrad_bn.graph.namespaces import engine as _engine, tensors as _tensors
from tinygrad_bn.graph.primitive import Array as Array, table as _table
from tinygrad_bn.graph.program import Trace as Trace
from tinygrad_bn.graph.state import no_grad as no_grad
from tinygrad_bn.graph.state import scope as scope
from tinygrad_bn.graph.tensor import Tensor as Tensor
from tinygrad_bn.primitives import families as families
from tinygrad_bn.transforms.derivatives import grad as grad
from tinygrad_bn.transforms.derivatives import hessian as hessian
from tinygrad_bn.transforms.derivatives import hvp as hvp
from tinygrad_bn.transforms.derivatives import jacobian as jacobian
from tinygrad_bn.transforms.derivatives import jvp as jvp
from tinygrad_bn.transforms.derivatives import value_and_grad as value_and_grad
from tinygrad_bn.transforms.derivatives import vjp as vjp
from tinygrad_bn.transforms.rules import checkpoint as checkpoint
from tinygrad_bn.transforms.rules import custom_rule as custom_rule
from tinygrad_bn.transforms.tracing import trace as trace

if TYPE_CHECKING:
    from tinygrad_bn import algebra as algebra
    from tinygrad_bn import data as data
    from tinygrad_bn import functions as functions
    from tinygrad_bn import nn as nn
    from tinygrad_bn import optim as optim
    from tinygrad_bn import testing as testing
    from tinygrad_bn import viz as viz
    from tinygrad_bn.algebra import Derivation as Derivation, derive as derive, simplify as simplify

__version__ = "0.1.0"
__array_api_version__ = "2024.12"

_ALGEBRA = ("derive", "simplify", "Derivation")
_ROOMS = ("algebra", "data", "functions", "nn", "optim", "testing", "tune", "viz")


def __getattr__(name: str) -> Any:
    """Find what no import above names: a row of the table (yours too), or a room of the package.

    Rooms are imported when they are first used, so that ``import tinygrad_bn`` stays quick.
    """
    if name in _ROOMS:
        return importlib.import_module(f"tinygrad_bn.{name}")
    if name in _ALGEBRA:
        return getattr(importlib.import_module("tinygrad_bn.algebra"), name)
    if name in _table:
        return getattr(_tensors, name)
    raise AttributeError(f"module 'tinygrad_bn' has no attribute {name!r}")


_engine.package = lambda: sys.modules[__name__]


def _mimebundle(*arguments: Any) -> dict[str, str]:
    """Draw for a notebook; the room that draws is imported only then."""
    bundle: dict[str, str] = importlib.import_module("tinygrad_bn.viz.notebook").mimebundle(
        *arguments
    )
    return bundle


_engine.mimebundle = _mimebundle
