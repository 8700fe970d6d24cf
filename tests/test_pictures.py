"""The README's picture is the picture of the README's example."""

import os
import re
from pathlib import Path

import pytest

from tinygrad_bn.viz import engines

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "loss.svg"
REWRITE = os.environ.get("TINYGRAD_BN_REWRITE_GOLDEN")


def drawn_by_the_readme(tmp_path):
    """Execute the first block of code and the call that stands beside the picture."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    call = re.search(r"`(tg\.viz\.render\(.*?\))`", text).group(1)
    names = {}
    exec(example, names)  # noqa: S102  (our own README)
    path = tmp_path / "loss.svg"
    exec(call.replace('"loss.svg"', "path"), {**names, "path": path})  # noqa: S102
    return path.read_text(encoding="utf-8")


@pytest.mark.skipif(
    engines._bundled() is None,
    reason="the bytes are those of the bundled layout engine",
)
def test_the_readmes_picture_is_what_its_example_draws(tmp_path):
    drawn = drawn_by_the_readme(tmp_path)
    if REWRITE:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(drawn, encoding="utf-8")
    assert drawn == PICTURE.read_text(encoding="utf-8")
