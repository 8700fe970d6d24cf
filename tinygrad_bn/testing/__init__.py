"""Tools for testing gradients: one's own and those of this package."""

from tinygrad_bn.testing.checker import check_gradients as check_gradients, check_rule as check_rule
from tinygrad_bn.testing.verdicts import Report as Report, Verdict as Verdict
