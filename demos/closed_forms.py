"""Functions whose gradients have a closed form, as demo, documentation and tests share them.

Each stands here as it is written, with an example of its arguments, and a sentence on why its
gradient matters. ``12_derive.py`` derives them all and writes a page; from the same list,

    python demos/closed_forms.py --docs docs/derivations.md

writes anew what is generated of that document, between the lines that mark it.
"""

# ruff: noqa: N803  (matrices are capitals in mathematics)

from __future__ import annotations

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_bn as tg
from tinygrad_bn import Derivation, Tensor

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "derivations.md"
EXAMPLES = 3
"""Random inputs on which every derivation is checked as the document is written."""
GENERATED = re.compile(r"(<!-- derivations -->\n).*?(<!-- end -->\n)", re.DOTALL)

# the list ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """An argument of an example: how it is written, and how it is drawn."""

    source: str
    draw: Callable[[np.random.Generator], Any]


def normal(*shape: int) -> Drawn:
    """Draw from the standard normal distribution."""
    return Drawn(f"rng.normal(size={_size(shape)})", lambda rng: rng.normal(size=shape))


def labels(count: int, classes: int) -> Drawn:
    """Draw integer labels."""
    source = f"rng.integers({classes}, size={count})"
    return Drawn(source, lambda rng: rng.integers(classes, size=count))


def coins(*shape: int) -> Drawn:
    """Draw zeros and ones as floats."""
    source = f"1.0 * rng.integers(2, size={_size(shape)})"
    return Drawn(source, lambda rng: 1.0 * rng.integers(2, size=shape))


def chances(count: int, classes: int) -> Drawn:
    """Draw rows of probabilities, which sum to one."""
    source = f"rng.dirichlet(np.ones({classes}), size={count})"
    return Drawn(source, lambda rng: rng.dirichlet(np.ones(classes), size=count))


def fixed(value: float) -> Drawn:
    """Take a number as it is."""
    return Drawn(repr(value), lambda rng: value)


def _size(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)


@dataclass(frozen=True)
class Target:
    """A function to derive: its section and title, how its arguments are drawn, and why."""

    section: str
    title: str
    function: Callable[..., Any]
    example: dict[str, Drawn]
    wrt: int | tuple[int, ...]
    upstream: str | None
    closed: bool
    """Whether a closed form is known; where none is, none shall be claimed."""
    pictured: bool
    """Whether the documentation has pictures of the graph before and after."""

    @property
    def name(self) -> str:
        """The name of the function, which is that of its section and pictures."""
        return self.function.__name__

    @property
    def why(self) -> str:
        """Why the gradient matters: what the function says of itself."""
        return " ".join(inspect.cleandoc(self.function.__doc__ or "").split())

    def arguments(self, seed: int = 0) -> tuple[Any, ...]:
        """Draw an example."""
        rng = np.random.default_rng(seed)
        return tuple(drawn.draw(rng) for drawn in self.example.values())

    def derive(self, seed: int = 0) -> Derivation:
        """Derive the gradient."""
        return tg.derive(self.function, *self.arguments(seed), wrt=self.wrt, upstream=self.upstream)

    @property
    def source(self) -> str:
        """The function in plain Python, without what is said of it and of its types."""
        text = textwrap.dedent(inspect.getsource(self.function))
        function = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef))
        body = [ast.get_source_segment(text, statement) or "" for statement in function.body[1:]]
        names = ", ".join(a.arg for a in function.args.args)
        return f"def {self.name}({names}):\n" + textwrap.indent("\n".join(body), "    ")

    @property
    def call(self) -> str:
        """How it is derived, as a line of Python."""
        options = f", wrt={self.wrt}" if self.wrt != 0 else ""
        options += f', upstream="{self.upstream}"' if self.upstream else ""
        return f"tg.derive({self.name}, {', '.join(self.example)}{options})"

    @property
    def drawing(self) -> str:
        """How its example is drawn, in lines of Python."""
        lines = [f"{name} = {drawn.source}" for name, drawn in self.example.items()]
        return "\n".join(["rng = np.random.default_rng(0)", *lines])


TARGETS: list[Target] = []
"""All of them, in order."""


def target(
    section: str,
    title: str,
    /,
    *,
    options: dict[str, Any] | None = None,
    closed: bool = True,
    pictured: bool = False,
    **example: Drawn,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function on the list; ``options``: its wrt and upstream."""
    chosen = {"wrt": 0, "upstream": None} | (options or {})

    def listed(function: Callable[..., Any]) -> Callable[..., Any]:
        """Keep it."""
        kinds = {"closed": closed, "pictured": pictured}
        TARGETS.append(Target(section, title, function, example, **chosen, **kinds))
        return function

    return listed


# losses ------------------------------------------------------------------------------------------


@target("Losses", "Softmax cross-entropy of labels", pictured=True, z=normal(4, 3), y=labels(4, 3))
def cross_entropy(z: Tensor, y: Any) -> Tensor:
    """Prediction minus truth: what every classifier learns from, out of an accurate softplus."""
    return tg.cross_entropy(z, y)


@target("Losses", "Softmax cross-entropy of probabilities", z=normal(4, 3), p=chances(4, 3))
def soft_cross_entropy(z: Tensor, p: Any) -> Tensor:
    """The same with soft labels, as in distillation and label smoothing; they sum to one."""
    return tg.cross_entropy(z, p)


@target("Losses", "Softmax cross-entropy, written naively", z=normal(4, 3), p=chances(4, 3))
def naive_cross_entropy(z: Tensor, p: Any) -> Tensor:
    """However the loss is written, one formula comes out; only this form overflows."""
    y_hat = tg.exp(z) / tg.sum(tg.exp(z), axis=1, keepdims=True)
    return -tg.mean(tg.sum(p * tg.log(y_hat), axis=1))


@target("Losses", "Binary cross-entropy of a sigmoid", z=normal(6), y=coins(6))
def binary_cross_entropy(z: Tensor, y: Any) -> Tensor:
    """Two classes: again prediction minus truth."""
    return tg.binary_cross_entropy(z, y)


# softmax -----------------------------------------------------------------------------------------


@target("Softmax and relatives", "Log-sum-exp", z=normal(5))
def logsumexp(z: Tensor) -> Tensor:
    """The smooth maximum; softmax is its gradient."""
    return tg.logsumexp(z)


@target("Softmax and relatives", "Softmax", pictured=True, z=normal(4, 3))
def softmax(z: Tensor) -> Tensor:
    """The rule that frameworks write by hand: all that attention needs to learn."""
    return tg.softmax(z)


@target("Softmax and relatives", "Log-softmax", z=normal(4, 3))
def log_softmax(z: Tensor) -> Tensor:
    """What comes in less its sum, shared out by the probabilities."""
    return tg.log_softmax(z)


@target(
    "Softmax and relatives",
    "Hessian of log-sum-exp",
    options={"upstream": "identity"},
    z=normal(5),
)
def gradient(z: Tensor) -> Tensor:
    """The Jacobian of softmax, and the covariance of a one-hot: why log-sum-exp is convex."""
    return tg.grad(tg.logsumexp)(z)


# activations -------------------------------------------------------------------------------------


@target("Activations", "Softplus", x=normal(5))
def softplus(x: Tensor) -> Tensor:
    """The smooth ReLU, with a smooth step as its derivative."""
    return tg.softplus(x)


@target("Activations", "Sigmoid", x=normal(5))
def sigmoid(x: Tensor) -> Tensor:
    """At most a quarter: why deep nets of sigmoids learn slowly."""
    return tg.sigmoid(x)


@target("Activations", "Tanh", x=normal(5))
def tanh(x: Tensor) -> Tensor:
    """One at zero, which is why it replaced the sigmoid; it needs the result alone."""
    return tg.tanh(x)


@target("Activations", "Logarithm of the sigmoid", x=normal(5))
def log_sigmoid(x: Tensor) -> Tensor:
    """The log-likelihood of a yes: its slope is the probability of a no."""
    return tg.log_sigmoid(x)


@target("Activations", "SiLU", x=normal(5))
def silu(x: Tensor) -> Tensor:
    """Also called swish: a gate of its own, so the sigmoid comes back twice."""
    return tg.silu(x)


@target("Activations", "GELU", x=normal(5))
def gelu(x: Tensor) -> Tensor:
    """Common in transformers; the form with tanh is long, and so is what it gives."""
    return tg.gelu(x)


# normalisation -----------------------------------------------------------------------------------

NORMS = {"wrt": (0, 1, 2)}


@target(
    "Normalisation",
    "Batch norm",
    options=NORMS,
    pictured=True,
    x=normal(8, 4),
    gamma=normal(4),
    beta=normal(4),
)
def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Half a page of derivation in every course: mean and standard deviation depend on x too."""
    return tg.batch_norm(x, gamma, beta)


@target(
    "Normalisation",
    "Batch norm of images",
    options=NORMS,
    x=normal(2, 3, 4, 5),
    gamma=normal(3),
    beta=normal(3),
)
def batch_norm_2d(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """One formula for every shape: only the axes differ."""
    return tg.batch_norm(x, gamma, beta, axis=(0, 2, 3))


@target(
    "Normalisation",
    "Layer norm",
    options=NORMS,
    x=normal(5, 4),
    gamma=normal(4),
    beta=normal(4),
)
def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """As batch norm along the other axis; gamma no longer leaves the mean."""
    return tg.layer_norm(x, gamma, beta)


@target(
    "Normalisation",
    "RMS norm",
    options={"wrt": (0, 1)},
    x=normal(5, 4),
    gamma=normal(4),
)
def rms_norm(x: Tensor, gamma: Tensor) -> Tensor:
    """Nothing is centred, so the term of the mean is gone."""
    return tg.rms_norm(x, gamma)


@target("Normalisation", "Standardisation", x=normal(8, 4))
def standardize(x: Tensor) -> Tensor:
    """The heart of batch norm: the parts along 1 and along x_hat are taken out."""
    return tg.standardize(x, axis=0)


@target("Normalisation", "Variance", x=normal(6))
def variance(x: Tensor) -> Tensor:
    """The mean depends on x, and yet adds nothing: deviations from it sum to zero."""
    return tg.var(x)


@target("Normalisation", "A bias before batch norm", pictured=True, b=normal(4), x=normal(8, 4))
def biased(b: Tensor, x: Tensor) -> Tensor:
    """Zero, and not by rounding: the bias can be left out."""
    return tg.batch_norm(x + b)


# models ------------------------------------------------------------------------------------------


@target("Models", "Linear regression", w=normal(3), X=normal(6, 3), y=normal(6))
def least_squares(w: Tensor, X: Any, y: Any) -> Tensor:
    """Set it to zero, and the normal equations stand there."""
    return 0.5 * tg.sum((X @ w - y) ** 2)


@target(
    "Models",
    "Ridge regression",
    w=normal(3),
    X=normal(6, 3),
    y=normal(6),
    alpha=fixed(0.1),
)
def ridge(w: Tensor, X: Any, y: Any, alpha: float) -> Tensor:
    """A penalty adds its own term: the weights decay."""
    return 0.5 * tg.sum((X @ w - y) ** 2) + 0.5 * alpha * tg.sum(w**2)


@target("Models", "Logistic regression", w=normal(3), X=normal(6, 3), y=coins(6))
def logistic(w: Tensor, X: Any, y: Any) -> Tensor:
    """Linear regression with the sigmoid put in."""
    return tg.binary_cross_entropy(X @ w, y)


@target("Models", "Softmax regression", W=normal(3, 4), X=normal(6, 3), y=labels(6, 4))
def softmax_regression(W: Tensor, X: Any, y: Any) -> Tensor:
    """The last layer of every classifier, in matrices."""
    return tg.cross_entropy(X @ W, y)


@target(
    "Models",
    "Softmax regression with weight decay",
    W=normal(3, 4),
    X=normal(6, 3),
    y=labels(6, 4),
    decay=fixed(0.01),
)
def decayed(W: Tensor, X: Any, y: Any, decay: float) -> Tensor:
    """A step of descent shrinks the weights first; that is what the name says."""
    return tg.cross_entropy(X @ W, y) + 0.5 * decay * tg.sum(W**2)


# at the edge -------------------------------------------------------------------------------------


@target("At the edge", "Sorting", x=normal(5))
def sort(x: Tensor) -> Tensor:
    """The gradient goes back to where each number came from: a permutation, and its inverse."""
    return tg.sort(x)


@target("At the edge", "A running sum", closed=False, x=normal(5))
def running_sum(x: Tensor) -> Tensor:
    """A running sum from the other end; that is what was recorded, and nothing shorter is known."""
    return tg.cumulative_sum(x)


@target(
    "At the edge",
    "A convolution",
    options={"wrt": (0, 1)},
    closed=False,
    x=normal(4, 2, 6, 5),
    k=normal(3, 2, 3, 2),
)
def conv(x: Tensor, k: Tensor) -> Tensor:
    """A convolution again, which is not seen: windows and their sums stay what they are."""
    return tg.conv2d(x, k)


# the documentation -------------------------------------------------------------------------------


def document(text: str) -> str:
    """Return a document with what stands between its marks written anew."""
    made = contents() + "".join(section(t, TARGETS[:i]) for i, t in enumerate(TARGETS))
    return GENERATED.sub(lambda found: f"{found[1]}\n{made}{found[2]}", text)


def contents() -> str:
    """List the headings, section by section."""
    sections = dict.fromkeys(t.section for t in TARGETS)
    lines = [
        f"- {s}: " + ", ".join(_link(t.title) for t in TARGETS if t.section == s) for s in sections
    ]
    return "\n".join(lines) + "\n\n"


def _link(title: str) -> str:
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return f"[{title}](#{anchor})"


def section(target: Target, before: Sequence[Target]) -> str:
    """Write all that the document tells of a target, under the heading of its section if first."""
    found = target.derive()
    code = "\n".join(
        [target.drawing, "", target.source, "", f"found = {target.call}", "print(found)"]
    )
    parts = [
        "" if target.section in {t.section for t in before} else f"## {target.section}\n",
        f"### {target.title}\n",
        f"{target.why}\n",
        fenced("python", code),
        fenced("text", str(found)),
        f"$$\n{found.latex()}\n$$\n",
        told(found),
        fenced("console", "\n".join(map(str, found.descent()))),
        pictures(target) if target.pictured else "",
        table(found) if found.steps else "",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def told(found: Derivation) -> str:
    """Say how much shorter it became and how far that is checked, before the step of descent."""
    before, after = len(found.recorded.nodes), len(found.result.nodes)
    verdict = found.proof(examples=EXAMPLES).verdict
    form = f"{after} in this form ({verdict})" if found.shorter else "no shorter form found"
    return f"{before} operations recorded, {form}. A step of gradient descent:\n"


def fenced(language: str, text: str) -> str:
    """Write a block of code."""
    return f"```{language}\n{text}\n```\n"


def pictures(target: Target) -> str:
    """Write the code that draws the graph before and after, and show what it draws."""
    stem = f"pictures/derive-{target.name.replace('_', '-')}"
    code = (
        "for name, trace in (('recorded', found.recorded), ('result', found.result)):\n"
        f'    path = f"{stem}-{{name}}.svg"\n'
        '    tg.viz.render(trace, path, backward="none", values=False)'
    ).replace("'", '"')
    shown = (
        f"![{target.title}: the graph that was recorded]({stem}-recorded.svg)\n\n"
        f"![{target.title}: the graph of the formula]({stem}-result.svg)\n"
    )
    return f"{fenced('python', code)}\n{shown}"


def table(found: Derivation) -> str:
    """Write the steps as a folded table."""
    rows = "\n".join(f"| {s.rule} | {_cell(s.before)} | {_cell(s.after)} |" for s in found.steps)
    count = len(found.steps)
    summary = (
        f"<summary>The {count} steps</summary>" if count > 1 else "<summary>The step</summary>"
    )
    head = "| law | before | after |\n|---|---|---|"
    return f"<details>\n{summary}\n\n{head}\n{rows}\n\n</details>\n"


def _cell(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the generated part of the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--docs", type=Path, default=DOCUMENT, help="default: %(default)s")
    path = parser.parse_args(argv).docs
    path.write_text(document(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
