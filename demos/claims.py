"""Run the demos of the lecture, and write what became of its claims into the documentation.

Each demo that tests claims runs in a process of its own. Then the tables in ``docs/lecture`` (each
between a line ``<!-- claims ... -->`` and a line ``<!-- end -->``) and the pictures that its
chapters show are written anew, from these runs alone.

    python demos/claims.py                        all of it; about a quarter of an hour
    python demos/claims.py --only 06_normalise_inputs
    python demos/claims.py --from out             from runs that are there already
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import numpy as np
from tqdm import tqdm

import lecture
import tinygrad_bn as tg

DEMOS = Path(__file__).resolve().parent
DOCS = DEMOS.parent / "docs" / "lecture"
TABLE = re.compile(r"(<!-- claims(?:: (\w+))? -->\n)(.*?)(<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"\]\(pictures/(\w+)/([\w-]+\.png)\)")
Claims: TypeAlias = dict[str, list[lecture.Claim]]


def demos() -> list[str]:
    """List the demos that test claims, by name."""
    files = sorted(DEMOS.glob("[0-9]*.py"))
    return [f.stem for f in files if "def claims(" in f.read_text(encoding="utf-8")]


def run(names: Sequence[str], out: Path, seed: int) -> None:
    """Run demos one after another; what they print is shown, and an error of one stops."""
    bar = tqdm(names, unit="demo", ncols=88)
    for name in bar:
        bar.set_description(name)
        command = [sys.executable, DEMOS / f"{name}.py", "--out", out]
        subprocess.run([*command, "--seed", str(seed)], check=True)  # noqa: S603  (our own scripts)


def read(names: Sequence[str], out: Path) -> Claims:
    """Read the claims that runs of the demos left."""
    found = {}
    for name in names:
        if not (out / name / "claims.json").exists():
            sys.exit(f"{out / name} has no claims: run demos/{name}.py --out {out}")
        if json.loads((out / name / "options.json").read_text(encoding="utf-8"))["fast"]:
            sys.exit(f"{out / name} is a small run: run demos/{name}.py without --fast")
        text = (out / name / "claims.json").read_text(encoding="utf-8")
        found[name] = [lecture.Claim(**claim) for claim in json.loads(text)]
    return found


def stored(docs: Path) -> Claims:
    """Read the claims that the documentation was last written from."""
    path = docs / "claims.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"demos": {}}
    return {
        name: [lecture.Claim(**claim) for claim in claims]
        for name, claims in content["demos"].items()
    }


def chapters(docs: Path) -> dict[str, Path]:
    """Return the chapter of each demo: the page that has its table."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(docs.glob("*.md"))}
    return {
        table[2]: path for path, text in pages.items() for table in TABLE.finditer(text) if table[2]
    }


def rows(claims: Sequence[lecture.Claim], link: str = "") -> Iterator[str]:
    """Give a table's lines, one for each claim."""
    for claim in claims:
        cells = (claim.text + link, claim.source, f"**{claim.reproduced}**", claim.figures)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def tables(text: str, claims: Mapping[str, list[lecture.Claim]], pages: Mapping[str, Path]) -> str:
    """Return a page's text with its tables filled: of one demo where it names one, else of all."""

    def table(found: re.Match[str]) -> str:
        if found[2] and found[2] not in claims:
            return found[0]
        names = [found[2]] if found[2] else sorted(claims)
        lines = ["| claim | source | here? | figures |", "|---|---|---|---|"]
        for name in names:
            link = "" if found[2] else f" ([{name.split('_')[0]}]({pages[name].name}))"
            lines += rows(claims[name], link)
        return found[1] + "\n" + "\n".join(lines) + "\n\n" + found[4]

    return TABLE.sub(table, text)


def write(claims: Claims, docs: Path) -> None:
    """Write the tables of every page, and what they were written from."""
    pages = chapters(docs)
    claims = {name: claims[name] for name in sorted(claims) if name in pages}
    texts = {
        path: tables(path.read_text(encoding="utf-8"), claims, pages)
        for path in {*pages.values(), docs / "index.md"}
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    made = {"python": platform.python_version(), "numpy": np.__version__}
    content = {name: list(map(asdict, listed)) for name, listed in claims.items()}
    lecture.write(docs / "claims.json", {"made with": made, "demos": content})


def copy_pictures(names: Sequence[str], out: Path, docs: Path) -> None:
    """Copy the pictures that the chapters show."""
    for page in sorted(docs.glob("*.md")):
        for demo, file in PICTURE.findall(page.read_text(encoding="utf-8")):
            if demo in names:
                (docs / "pictures" / demo).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(out / demo / file, docs / "pictures" / demo / file)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what was asked for, and write the documentation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=demos(), metavar="DEMO", help="these alone")
    parser.add_argument("--from", type=Path, dest="done", metavar="DIR", help="read runs in DIR")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder that is written")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    names, out = options.only or demos(), options.done or Path("out")
    if not options.done:
        tg.data.load_fashion_mnist()  # the pages tell of it: without it this ends here
        run(names, out, options.seed)
    write({**stored(options.docs), **read(names, out)}, options.docs)
    copy_pictures(names, out, options.docs)
    print(f"written: {options.docs}/")


if __name__ == "__main__":
    main()
