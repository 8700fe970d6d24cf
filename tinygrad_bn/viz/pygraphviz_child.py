"""Run as a program: what ``dot`` does, by pygraphviz, a C library whose crash ends this process.

It takes the options of ``dot``, reads DOT and writes the picture. It imports nothing of the
package, so that it starts at once.
"""

from __future__ import annotations

import sys


def draw(source: str, options: list[str]) -> bytes:
    """Draw DOT as the options of ``dot`` say."""
    import pygraphviz  # noqa: PLC0415  (optional, and what fails is told in one line)

    chosen = {option[:2]: option[2:] for option in options}
    drawn: bytes = pygraphviz.AGraph(string=source).draw(
        format=chosen["-T"], prog=chosen["-K"], args=" ".join(options)
    )
    return drawn


if __name__ == "__main__":
    try:
        picture = draw(sys.stdin.buffer.read().decode(), sys.argv[1:])
    except Exception as error:  # noqa: BLE001  (whatever it is, its first line is what is shown)
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(picture)
