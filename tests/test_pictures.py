"""The README's picture is the picture of the README's example."""

import os
import re
from pathlib import Path

import pytest

from tinygrad_bn.viz import engines

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "loss.svg"
REWRITE = os.environ.get("TINYGRAD_BN_REWRITE_GOLDEN")


def drawn_by_the_readme(tmp_path, monkeypatch):
    """Execute the blocks of code up to the picture."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("](docs/pictures/loss.svg)")[0]
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)  # noqa: S102  (our own README)
    return (tmp_path / "loss.svg").read_text(encoding="utf-8")


@pytest.mark.skipif(
    engines._bundled() is None,
    reason="the bytes are those of the bundled layout engine",
)
def test_the_readmes_picture_is_what_its_example_draws(tmp_path, monkeypatch):
    drawn = drawn_by_the_readme(tmp_path, monkeypatch)
    if REWRITE:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(drawn, encoding="utf-8")
    assert drawn == PICTURE.read_text(encoding="utf-8")
