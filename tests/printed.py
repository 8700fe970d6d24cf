"""Read a printed derivation as NumPy would, so that what is printed can be tested.

Reductions keep their axes, so that what they leave broadcasts; a vector is a column in
products; letters, one-hot rows and the places of axes are taken from the lines that say so below.
A formula with indices is computed with an axis for each letter.
"""

import re

import numpy as np

REDUCTION = re.compile(r"\b(sum|mean|max|min|prod)_([a-z]+)\(")


class Column(np.ndarray):
    """An array that is a column in products if it has one axis: ``s @ s.T`` is a matrix."""

    @property
    def T(self):
        return self.swapaxes(-1, -2) if self.ndim > 1 else self[np.newaxis, :]

    def __matmul__(self, other):
        if self.ndim == 1 and np.ndim(other) == 2 and len(other) == 1:
            return self[:, np.newaxis] * other
        return np.matmul(self, other)


def softmax(x, axis, keepdims):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def logsumexp(x, axis, keepdims):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


REDUCERS = {n: getattr(np, n) for n in ("sum", "mean", "var", "max", "min", "prod")}
REDUCERS |= {"softmax": softmax, "logsumexp": logsumexp}
FUNCTIONS = ("sqrt", "exp", "log", "tanh", "where", "sign", "diag", "abs", "clip", "cos", "sin")
FUNCTIONS += (
    "pow",
    "hypot",
    "flip",
    "argsort",
    "permute_dims",
    "concat",
    "reshape",
    "cumulative_sum",
)


class Delta:
    def __getitem__(self, places):
        here, there = places
        return (here == there) * 1.0


def scatter_add(x, index, shape):
    total = np.zeros(shape)
    total[index] += x
    return total


def one_hot(labels, classes):
    return (np.asarray(labels)[..., None] == np.arange(classes)) * 1.0


def assert_printed(page, values, wanted, *, classes=0, atol=1e-10):
    """Fail unless the text of a page, as NumPy reads it, computes the wanted arrays.

    Where reductions keep their axes nothing else fits, or else where they drop them.
    """
    shapes, problems = [w.shape for w in wanted], []
    for keep in (True, False):
        try:
            for found, right in zip(
                evaluate(page, values, shapes, classes, keep=keep), wanted, strict=True
            ):
                np.testing.assert_allclose(fitted(found, right.shape), right, rtol=1e-9, atol=atol)
        except (ValueError, IndexError, AssertionError, TypeError) as problem:
            problems.append(str(problem))
        else:
            return
    raise AssertionError("\n".join([page, *problems]))


def fitted(value, shape):
    value = np.asarray(value)
    if value.ndim > len(shape):
        value = value.reshape(shape) if value.size == np.prod(shape, dtype=int) else value.squeeze()
    return np.broadcast_to(value, shape)


def evaluate(page, values, shapes, classes, *, keep):
    """Return the results of a printed page.

    ``values``: what its variables stand for, ``shapes``: of the results, ``keep``: whether
    reductions keep their axes.
    """
    page = page.replace("index=[", "index=S[")
    lines = [re.sub(r"^where ", "", line.strip()) for line in page.splitlines()]
    results = [split(line) for line in lines if re.match(r"d\w+(\[.*\])?/d", line)]
    told = [m for line in lines if (m := re.fullmatch(r"(.*) along ax[ie]s ([0-9, ]+)", line))]
    along = {n: axes_of(m[2]) for m in told for n in re.split(r", | and ", m[1])}
    default = next((along[n] for n in along if n in REDUCERS), None)
    scope = {n: getattr(np, n) for n in FUNCTIONS}
    scope |= {n: over(f, default, keep=keep) for n, f in REDUCERS.items()}
    scope |= {
        "getitem": lambda x, index: x[index],
        "scatter_add": scatter_add,
        "S": np.s_,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "one_hot": lambda y: column(one_hot(y, classes)),
        "delta": Delta(),
    }
    wide = max([*map(len, shapes), *map(np.ndim, values.values())])
    wide = max([wide, *(max(a) + 1 for n, a in along.items() if n not in REDUCERS)])
    if "axes of length 1 are not counted" in page:
        values = {n: np.squeeze(v) for n, v in values.items()}
    scope |= {n: column(placed(np.asarray(v), along.get(n), wide)) for n, v in values.items()}
    todo = [split(line) for line in lines if " = " in line and split(line) not in results]
    for _ in range(len(todo) ** 2):
        if not todo:
            break
        left, right = todo.pop(0)
        if not re.fullmatch(r"\w+(\[[a-z, ]+\])?", left) or left in values or "delta" in left:
            continue
        try:
            name = left.partition("[")[0]
            scope[name] = column(placed(run(left, right, scope), along.get(name), wide))
        except NameError:
            todo.append((left, right))
    return [run(*line, scope, shape) for line, shape in zip(results, shapes, strict=True)]


def axes_of(text):
    return tuple(map(int, text.split(", ")))


def over(reduce, default, *, keep):
    def reduced(x, axis=None):
        whole = default if axis is None else axis
        kept = keep or reduce is softmax
        return column(reduce(np.asarray(x), axis=whole, keepdims=kept))

    return reduced


def column(value):
    return np.asarray(value).view(Column)


def placed(value, axes, wide):
    """Give an array axes of length one wherever it has none of its own."""
    if axes is None:
        return value
    value = np.squeeze(value)
    rest = iter(value.shape)
    count = max(wide, max(axes) + 1)
    return value.reshape([next(rest) if a in axes else 1 for a in range(count)])


def split(line):
    left, _, right = line.partition(" = ")
    return left, right


def run(left, right, scope, shape=()):
    if "[" not in left:
        return eval(right, {"__builtins__": {}}, scope)  # noqa: S307  (what the package printed)
    places = re.findall(r"\w+", " ".join(re.findall(r"\[(.*?)\]", left)))
    given = dict(zip(places, shape, strict=False))
    inner = {c for m in REDUCTION.findall(right) for c in m[1]}
    letters = sorted({p for p in places if not p.isdigit()} | inner)
    sizes = {c: given.get(c) or size(c, right, scope) for c in letters}
    grid = {
        c: np.arange(sizes[c]).reshape([sizes[c] if c == d else 1 for d in letters])
        for c in letters
    }
    reducers = {
        f"{name}_{own}": bound(getattr(np, name), [letters.index(c) for c in own], grid, own)
        for name, own in REDUCTION.findall(right)
    }
    plain = {n: read_at(n, v, right) for n, v in scope.items()}
    names = {**plain, **grid, **reducers}
    value = eval(right, {"__builtins__": {}}, names)  # noqa: S307  (what the package printed)
    order = [letters.index(p) for p in places if not p.isdigit()]
    full = [sizes[c] if letters.index(c) in order else 1 for c in letters]
    rest = [a for a in range(len(letters)) if a not in order]
    value = np.broadcast_to(value, full).transpose(*order, *rest)
    return value.reshape([1 if p.isdigit() else sizes[p] for p in places])


def read_at(name, value, text):
    """Give an array as many axes as it has indices: reductions kept some of length one."""
    if not isinstance(value, Column):
        return value
    places = re.search(rf"\b{name}\[([^\[\]]*)", text)
    count = len(places[1].split(",")) if places else value.ndim
    return np.asarray(value if value.ndim == count else np.squeeze(value))


def size(letter, text, scope):
    """Find how many values an index has, from an array that is read at it."""
    for name, places in re.findall(r"(\w+)\[([^\[\]]*)\]", text):
        axes = [p.strip() for p in places.split(",")]
        if letter in axes and hasattr(scope.get(name), "shape"):
            return scope[name].shape[axes.index(letter)]
    raise LookupError(letter)


def bound(reduce, axes, grid, own):
    def reduced(body):
        return reduce(body + sum(0 * grid[c] for c in own), axis=tuple(axes), keepdims=True)

    return reduced
