"""Progress bars: the one place that asks for tqdm."""

from __future__ import annotations

from typing import Any

from tinygrad_bn.errors import OptionalDependencyError


def tqdm_if(*, wanted: bool | None) -> Any:
    """Return tqdm's class of bars, or None for no bar.

    ``wanted``: True, False, or None for a bar if tqdm is installed. Raises
    OptionalDependencyError where it is wanted and tqdm is not there.

    >>> tqdm_if(wanted=False)
    """
    if wanted is False:
        return None
    try:
        import tqdm  # noqa: PLC0415  (optional)
    except ImportError as error:
        if wanted is None:
            return None
        raise OptionalDependencyError(
            "A progress bar needs tqdm.",
            'Install the extra "demos": pip install "tinygrad_bn[demos]".',
        ) from error
    return tqdm.tqdm
