"""How the C library is asked to treat memory that arrays free."""

from __future__ import annotations

import numpy as np

LARGEST = 2**25
"""glibc's upper bound of the size below which blocks come from its heap."""


def keep_freed_memory() -> None:
    """Let freed arrays be used again, instead of being returned to the system page by page.

    glibc raises its threshold for that to the size of the largest block ever freed. Allocating
    and freeing one large block, never touched, is enough; elsewhere it does nothing. A sweep over
    arrays of a megabyte is several times faster for it: no page needs to be zeroed anew.
    """
    np.empty(LARGEST - 2**16, np.uint8)
