"""Search for hyperparameters: spaces on the scale that fits, random, grid, coarse to fine.

One seed gives the same trials for any number of workers, which share a journal file. Optuna keeps
the trials, so that its tools work on them.
"""

from tinygrad_bn.tune.results import Result
from tinygrad_bn.tune.searching import coarse_to_fine, grid_search, random_search
from tinygrad_bn.tune.spaces import (
    Space,
    categorical,
    integer,
    log_uniform,
    one_minus_log_uniform,
    uniform,
)
from tinygrad_bn.tune.trials import Pruned, Row, Trial

__all__ = [
    "Pruned",
    "Result",
    "Row",
    "Space",
    "Trial",
    "categorical",
    "coarse_to_fine",
    "grid_search",
    "integer",
    "log_uniform",
    "one_minus_log_uniform",
    "random_search",
    "uniform",
]
