"""The command line: ``tinygrad-bn check``, ``draw`` and ``explore`` on a file of one's own."""

from __future__ import annotations

from tinygrad_bn.cli.commands import main as main
