"""Compositions of primitives. No derivative is written here: each follows from the table."""

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
from tinygrad_bn.functions.losses import (
    binary_cross_entropy as binary_cross_entropy,
    cross_entropy as cross_entropy,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
    one_hot as one_hot,
)
from tinygrad_bn.functions.manipulation import pad as pad
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
from tinygrad_bn.primitives.contraction import einsum as einsum
