"""Mutants: rules, functions and engines that are wrong on purpose, each in one way.

A check that lets one pass is no check. ``installed`` puts one in the place of what is right for
the length of a block; ``GALLERY`` shows one of each sort on a small example. A mutant that
changes no derivative at a point is *equivalent* there, and no check can find it.
"""

from __future__ import annotations

from tinygrad_bn.testing.checking.subjects import REFUSED as REFUSED
from tinygrad_bn.testing.mutants.functions import (
    FUNCTIONS as FUNCTIONS,
    WrongFunction as WrongFunction,
)
from tinygrad_bn.testing.mutants.gallery import (
    ENGINES as ENGINES,
    GALLERY as GALLERY,
    Exhibit as Exhibit,
    WrongEngine as WrongEngine,
    all_mutants as all_mutants,
)
from tinygrad_bn.testing.mutants.installing import Mutant as Mutant, installed as installed
from tinygrad_bn.testing.mutants.rules import (
    Changed as Changed,
    RuleMutant as RuleMutant,
    Sort as Sort,
    mutants as mutants,
    one_element as one_element,
    scaled as scaled,
    sorts as sorts,
)
from tinygrad_bn.testing.mutants.showing import (
    caught as caught,
    equivalent as equivalent,
    exposed as exposed,
)
