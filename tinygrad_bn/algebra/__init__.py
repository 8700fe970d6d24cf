"""Algebra: closed forms of recorded graphs, by named laws, step by step.

``derive`` gives the textbook formula of a gradient, ``simplify`` a shorter graph of the same
values.
"""

from tinygrad_bn.algebra.deriving import Derivation as Derivation, derive as derive
from tinygrad_bn.algebra.simplifying import simplify as simplify
