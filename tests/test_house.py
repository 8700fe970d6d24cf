"""The house: floors, rules of writing, types, lint, docstrings and what an import costs."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import test_footguns

import tinygrad_bn as tg
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.primitive import table

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinygrad_bn"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}

FLOORS = {
    "source": 0,
    "files": 0,
    "errors": 0,
    "graph": 1,
    "progress": 1,
    "primitives": 2,
    "viz": 2,
    "functions": 3,
    "transforms": 4,
    "algebra": 5,
    "optim": 5,
    "data": 5,
    "nn": 6,
    "testing": 7,
    "tune": 7,
    "cli": 8,
}
ALLOWED_SIBLINGS = {("errors", "source")}
"""The one pair on a floor: an error says where it was raised."""

OPTIONAL = {"sklearn", "matplotlib", "tqdm", "hypothesis", "mpmath", "graphviz", "graphviz_pure"}
OPTIONAL |= {"optuna", "threadpoolctl", "pygraphviz", "torch", "jax", "autograd", "mygrad"}


def relative(file):
    return file.relative_to(PACKAGE).as_posix()


def room(file):
    return relative(file).split("/")[0].removesuffix(".py")


def module_name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree):
    """List (module, names) of every import of a file outside TYPE_CHECKING blocks."""
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, (), node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            found.append((("." * node.level) + (node.module or ""), names, node))
    return found


def ours(tree):
    """List the dotted names within the package that a file imports."""
    for module, names, _ in imported(tree):
        if module == "tinygrad_bn":
            yield from (f"tinygrad_bn.{name}" for name in names or ("",))
        elif module.startswith("tinygrad_bn."):
            yield from [module, *(f"{module}.{name}" for name in names)]


MODULES = {module_name(file) for file in FILES}
INNER = [file for file in FILES if room(file) in FLOORS]


@pytest.mark.parametrize("file", INNER, ids=relative)
def test_imports_point_strictly_down(file):
    here = room(file)
    for target in ours(TREES[file]):
        there = target.split(".")[1]
        assert there in FLOORS, f"{relative(file)} imports {target}, which is above every floor"
        below = FLOORS[there] < FLOORS[here]
        assert below or there == here or (here, there) in ALLOWED_SIBLINGS, target
        if here == "viz":
            assert there in ("viz", "graph", "errors", "source", "files"), target


def test_every_room_has_a_floor():
    rooms = {room(file) for file in FILES} - {"__init__", "__main__"}
    assert rooms <= set(FLOORS), rooms - set(FLOORS)


def test_no_module_imports_itself_through_others():
    edges = {
        module_name(file): {t for t in ours(TREES[file]) if t in MODULES} - {module_name(file)}
        for file in FILES
    }
    while edges:
        free = {name for name, targets in edges.items() if not targets & edges.keys()}
        assert free, f"cycle among {sorted(edges)}"
        edges = {name: targets for name, targets in edges.items() if name not in free}


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_imports_inside_functions_are_of_optional_packages_only(file):
    functions = [
        node
        for node in ast.walk(TREES[file])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for module, _, node in imported(TREES[file]):
        if id(node) in inside:
            assert module.split(".")[0] in OPTIONAL, f"line {node.lineno}: {module}"


REGISTERING = {"tinygrad_bn.primitives.families", "tinygrad_bn.transforms.rules"}
REGISTERING_NAMES = {"register", "bind", "Primitive", "custom_rule"}
REPLAYING = {"bind", "Primitive"}
"""What the algebra uses besides: it runs rows that were recorded again, and writes none."""


@pytest.mark.parametrize("file", [f for f in INNER if FLOORS[room(f)] >= 3], ids=relative)
def test_no_derivative_is_written_above_the_table(file):
    if relative(file) == "transforms/rules.py":
        return
    for module, names, _ in imported(TREES[file]):
        if room(file) == "testing":
            continue  # it reads the registry, and its mutants are rows made wrong on purpose
        assert module not in REGISTERING, module
        if module == "tinygrad_bn.graph.primitive":
            barred = REGISTERING_NAMES - (REPLAYING if room(file) == "algebra" else set())
            assert not set(names) & barred, names
    rules = [k for k in ast.walk(TREES[file]) if isinstance(k, ast.keyword) and k.arg == "vjp"]
    assert room(file) == "testing" or rules == []


def test_every_name_that_a_tensors_methods_bind_exists():
    text = (PACKAGE / "graph" / "tensor.py").read_text(encoding="utf-8")
    names = set(re.findall(r"\btensors\.(\w+)\(", text))
    assert {"add", "matmul", "sum"} <= names
    assert {name for name in names if not hasattr(tensors, name)} == set()


def test_every_row_of_the_package_is_public_or_an_adjoint():
    for name, op in table.items():
        assert getattr(tensors, name).__name__ == name
        assert op.doc, f"{name} has no docstring"


# rules of writing --------------------------------------------------------------------------------


def functions_of(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function):
    """Count the lines of a function without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_no_function_is_long(file):
    long = {f.name: length(f) for f in functions_of(TREES[file]) if length(f) > 60}
    assert long == {}


def test_functions_are_short_on_the_whole():
    lengths = sorted(length(f) for file in FILES for f in functions_of(TREES[file]))
    assert lengths[len(lengths) // 2] <= 6
    assert lengths[int(0.95 * len(lengths))] <= 30


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_there_are_no_stubs_and_no_asserts(file):
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"\bNotImplementedError\b|\bTODO\b|\bFIXME\b|\bXXX\b", text)
    if room(file) != "testing":
        assert not [n for n in ast.walk(TREES[file]) if isinstance(n, ast.Assert)]


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_every_noqa_and_type_ignore_names_its_rule(file):
    for line in file.read_text(encoding="utf-8").splitlines():
        if "# noqa" in line:
            assert re.search(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* +\(?\w", line), line
        if "type: ignore" in line:
            assert "type: ignore[" in line, line


def public_definitions(tree):
    """List public classes, functions, and public methods of public classes."""
    scopes = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_")]
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for scope in scopes:
        yield from (n for n in scope.body if isinstance(n, kinds) and n.name[0] != "_")


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_everything_public_has_a_docstring_that_begins_with_a_sentence(file):
    assert ast.get_docstring(TREES[file]), "the module has none"
    for definition in public_definitions(TREES[file]):
        overloads = [ast.unparse(d) for d in definition.decorator_list]
        if any(d in ("overload", "typing.overload") or d.endswith(".setter") for d in overloads):
            continue
        text = ast.get_docstring(definition)
        assert text, definition.name
        first = re.sub(r"\s+", " ", text.split("\n\n")[0])
        assert not first[0].islower(), (definition.name, first)
        assert first.rstrip()[-1] in ".:", (definition.name, first)


WALKED = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "tinygrad_bn."))


@pytest.mark.parametrize("name", ["tinygrad_bn", *WALKED])
def test_the_examples_in_docstrings_run(name):
    if name.rsplit(".", 1)[-1] == "__main__":
        return
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"optional: {error}")
    with test_footguns.restored():  # the rows of an example are its own
        result = doctest.testmod(module, extraglobs=None, report=True)
    assert result.failed == 0


# tools; pages of documentation are laid out by hand

PYTHON = [
    name for name in ("tinygrad_bn", "tests", "demos", "benchmarks") if (ROOT / name).is_dir()
]

# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", *PYTHON), ("mypy",)],
    ids=["lint", "format", "types"],
)
def test_the_tools_find_nothing(command):
    run = [sys.executable, "-m", *command]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  (our own text)
    assert done.returncode == 0, done.stdout + done.stderr


# what an import brings ---------------------------------------------------------------------------

ASK = """
import sys
import tinygrad_bn
tops = {name.split(".")[0] for name in sys.modules}
print(*sorted(tops - set(sys.stdlib_module_names)))
print(*sorted(name for name in sys.modules if name.startswith("tinygrad_bn.")))
"""


def test_import_brings_numpy_and_nothing_else():
    done = subprocess.run(  # noqa: S603  (our own text)
        [sys.executable, "-S", "-c", ASK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(sys.modules["numpy"].__file__).parent.parent)},
    )
    packages, modules = done.stdout.splitlines()
    internal = {p for p in packages.split() if p.startswith("_") or p == "__main__"}
    assert set(packages.split()) - internal == {"numpy", "tinygrad_bn"}
    late = {"data", "nn", "optim", "testing", "tune", "viz"}
    assert {m.split(".")[1] for m in modules.split()} & late == set()


# names -------------------------------------------------------------------------------------------

TOP = """Tensor no_grad stop_gradient scope grad value_and_grad vjp jvp jacobian hessian hvp
checkpoint custom_rule families trace"""
FUNCTIONS = """moments RunningStats softmax log_softmax logsumexp softmin hardmax sparsemax
gumbel_softmax softplus sigmoid log_sigmoid softsign relu leaky_relu elu gelu silu one_hot
cross_entropy binary_cross_entropy nll_loss mse_loss batch_norm layer_norm group_norm instance_norm
rms_norm standardize dropout conv1d conv2d max_pool2d avg_pool2d einsum pad"""
TENSOR = """data shape dtype ndim size T mT device requires_grad grad name backward retain_grad
detach assign item at sum mean var std max min prod argmax argmin any all reshape squeeze flatten
transpose astype clip tolist copy __array__ __dlpack__ __array_namespace__"""
ROOMS = {
    "nn": """Module Parameter Buffer Sequential Linear Conv2d BatchNorm LayerNorm Dropout
    Flatten fit evaluate predict accuracy History EarlyStop CSVLog JSONLinesLog Control
    save_checkpoint load_checkpoint""",
    "nn.Module": "state_dict load_state_dict parameters named_parameters train eval",
    "optim": """SGD RMSprop Adam AdamW exponential cosine inverse_time staircase warmup
    clip_grad_norm""",
    "data": """Standardizer train_test_split batches load_digits load_fashion_mnist
    load_mnist moons blobs spirals""",
    "tune": """Space uniform log_uniform one_minus_log_uniform integer categorical random_search
    grid_search coarse_to_fine Trial Pruned Result Row""",
    "viz": "graph render diff Difference",
    "testing": """check_gradients check_rule check_row given_gradients Report Verdict
    WrongGradientError strategies laws mutants adapters rows""",
    "testing.strategies": """dtypes shapes broadcastable_shapes arrays tensors axes labels models
    calls programs compositions""",
}


def missing(owner, names):
    return [name for name in names.split() if not hasattr(owner, name)]


def test_the_public_names_exist():
    assert missing(tg, TOP) == []
    assert missing(tg, FUNCTIONS) == []
    assert missing(tg.functions, FUNCTIONS) == []
    assert missing(tg.Tensor, TENSOR) == []


@pytest.mark.parametrize(("path", "names"), ROOMS.items(), ids=ROOMS)
def test_the_public_names_of_each_room_exist(path, names):
    owner = tg
    for part in path.split("."):
        owner = getattr(owner, part)
    assert missing(owner, names) == []


SIGNATURES = {
    "grad": "(function, argnums=0)",
    "value_and_grad": "(function, argnums=0)",
    "jacobian": "(function, argnums=0)",
    "hessian": "(function, argnums=0)",
    "vjp": "(function, *primals)",
    "jvp": "(function, primals, tangents)",
    "hvp": "(function, primals, vectors)",
    "trace": "(function, *arguments)",
    "checkpoint": "(function)",
    "scope": "(name)",
    "Tensor": "(data, *, dtype=None, requires_grad=False, name=None)",
    "batch_norm": "(x, /, gamma=None, beta=None, *, axis=0, eps=1e-05, stats=None)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_the_ones_promised(name):
    parameters = inspect.signature(getattr(tg, name)).parameters.values()
    bare = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
    assert str(bare) == SIGNATURES[name]


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        tg.nonsense  # noqa: B018  (it raises)
