"""What can be written on the command line, and who carries it out."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from tinygrad_bn.cli.check import check
from tinygrad_bn.cli.derive import UPSTREAM, derive
from tinygrad_bn.cli.draw import BACKWARD, draw, explore
from tinygrad_bn.cli.loading import DTYPES, Usage
from tinygrad_bn.testing.generators.values import KINDS

USAGE = 2

ADAPTERS = ("torch", "jax", "autograd", "mygrad")

ARGUMENTS = """\
arguments of the function:
  x=4,3         a random array of this shape; x= is a single number
  axis:=0       a constant, written in Python; lists become arrays
"""

COLLAPSE = "name of scopes that become one card each; may be repeated (default: none)"
GRADIENTS = "way to show gradients (default annotate)"
VALUES = "mean and standard deviation on each card (default: shown)"
ENGINE = "graphviz-pure, dot, pygraphviz or a path (default auto: the first that is there)"

CHECK = f"""\
{ARGUMENTS}
examples:
  tinygrad-bn check model.py:loss x=8,4 w=4
  tinygrad-bn check layers.py:forward --vjp layers.py:backward x=8,4 gamma=4 beta=4
  tinygrad-bn check nets.py:layer --adapter torch x=8,4 --kind ties --examples 200

exit status: 0 the gradients are right, 1 they are wrong or not shown right, 2 usage
"""

DRAW = f"""\
{ARGUMENTS}
examples:
  tinygrad-bn draw tinygrad_bn:batch_norm x=8,4 gamma=4 beta=4 --out bn.svg
  tinygrad-bn draw model.py:loss x=8,4 w=4 --backward ops --depth 1 --out loss.pdf
  tinygrad-bn draw model.py:loss x=8,4 w=4 --collapse mean --legend

exit status: 0 the picture was written, 2 it was not
"""

EXPLORE = f"""\
{ARGUMENTS}
example:
  tinygrad-bn explore model.py:loss x=8,4 w=4 --out loss.html

exit status: 0 the page was written, 2 it was not
"""

DERIVE = f"""\
{ARGUMENTS}
  y:=[0,2,1]    a list has its name in the formula, any other constant its value

examples:
  tinygrad-bn derive tinygrad_bn:batch_norm x=8,4 gamma=4 beta=4 --wrt x,gamma,beta
  tinygrad-bn derive tinygrad_bn:cross_entropy logits=4,3 target:=[0,2,1,1] --steps
  tinygrad-bn derive model.py:loss w=4 x=8,4 y=8 --html --out loss.html

exit status: 0 the gradient was derived, 1 its proof failed (--proof), 2 it was not derived
"""

WRT = "names of the arguments to differentiate by, with commas (default: the first)"
PROOF = "check every step and the result on random inputs, told on the error stream; 1 if wrong"
COTANGENT = """gradient by the result: an array g (symbolic), all ones, or one for each element
(identity): the Jacobian (default ones for a single number, else symbolic)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    >>> main(["check", "tinygrad_bn:tanh", "x=3"])  # doctest: +ELLIPSIS
    gradients of tanh: right ...
    0
    """
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if any(word.startswith("-") for word in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.arguments += rest  # argparse takes no arguments behind an option
    carry_out: Callable[[argparse.Namespace], int] = options.carry_out
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know fewer letters
            stream.reconfigure(errors="backslashreplace")
    try:
        return _to_the_end(carry_out, options)
    except Usage as problem:
        print(f"tinygrad-bn {options.command}: {problem}", file=sys.stderr)  # noqa: T201  (a command line)
        return USAGE


def _to_the_end(carry_out: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Carry a command out; a reader that went away, as ``head`` does, is no failure."""
    try:
        status = carry_out(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _seed(text: str) -> int:
    """Read a seed."""
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{seed}: a seed is not negative")
    return seed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinygrad-bn",
        description="Check or derive the gradients of your own function, or draw its graph.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_check(commands)
    _add_draw(commands)
    _add_explore(commands)
    _add_derive(commands)
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add = _command(
        commands,
        "check",
        "check the gradients of a function at random points, and shrink what is wrong",
        "Check the gradients of a function at random points; print the smallest example at\n"
        "which they are wrong.",
        CHECK,
    ).add_argument
    add("--vjp", help="module:function of a derivative written by hand: vjp(g, *arguments)")
    add("--adapter", choices=ADAPTERS, help="framework whose tensors the function takes")
    add("--order", type=int, metavar="N", default=1, help="highest order of derivative (default 1)")
    add("--examples", type=int, metavar="N", default=50, help="number of points (default 50)")


def _add_draw(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add = _command(
        commands,
        "draw",
        "draw the graph of a function at a random point",
        "Call a function with random tensors and draw the graph of what it returns: a tensor,\n"
        "a container of tensors, or a trace.",
        DRAW,
    ).add_argument
    add("--out", metavar="FILE", help="file; its suffix says the format (default FUNCTION.svg)")
    add("--depth", type=int, metavar="N", help="nesting of scopes that is shown (default: all)")
    add("--collapse", action="append", metavar="NAME", help=COLLAPSE)
    add("--backward", choices=BACKWARD, default="annotate", help=GRADIENTS)
    add("--values", action=argparse.BooleanOptionalAction, default=True, help=VALUES)
    add("--legend", action="store_true", help="explanation of the signs, below (default: none)")
    add("--max-nodes", type=int, metavar="N", help="number of cards at most (default 400)")
    add("--engine", default="auto", help=ENGINE)
    add("--dpi", type=int, metavar="N", default=144, help="dots per inch of a .png (default 144)")


def _add_explore(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add = _command(
        commands,
        "explore",
        "write a page that shows the graph of a function at a random point",
        "Call a function with random tensors and write a page to explore the graph of what it\n"
        "returns.",
        EXPLORE,
    ).add_argument
    add("--out", metavar="FILE", help="file (default FUNCTION.html)")
    add("--engine", default="auto", help=ENGINE)


def _add_derive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "derive",
        "derive the gradient of a function in closed form",
        "Record the gradient of a function at a random point, and rewrite it by the laws of real\n"
        "arithmetic until none makes it shorter.",
        DERIVE,
    )
    add = parser.add_argument
    add("--wrt", metavar="NAMES", help=WRT)
    add("--upstream", choices=UPSTREAM, help=COTANGENT)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--latex", action="store_true", help="LaTeX instead of text")
    form.add_argument("--html", action="store_true", help="a page with formulas, steps and graphs")
    form.add_argument("--steps", action="store_true", help="below the text the laws that were used")
    add("--out", metavar="FILE", help="file (default: printed; of a page FUNCTION.html)")
    add("--proof", action="store_true", help=PROOF)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Add a command on a function, with the options that say what numbers it gets."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("function", help="module:function, or path/to/file.py:function")
    add("arguments", nargs="*", help="name=shape or name:=constant, for each parameter")
    add("--seed", type=_seed, metavar="N", default=0, help="seed of all that is random (default 0)")
    add("--kind", choices=KINDS, default="generic", help="kind of the values (default generic)")
    add("--dtype", choices=DTYPES, default="float64", help="dtype of the values (default float64)")
    add("--domain", default="-2,2", help="bounds of the values, as --domain=-3,3 (default -2,2)")
    carried = {"check": check, "draw": draw, "explore": explore, "derive": derive}
    parser.set_defaults(carry_out=carried[name])
    return parser
