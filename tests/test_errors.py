"""What users read when they make a mistake: the whole message, and nothing changed."""

import inspect

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn import errors
from tinygrad_bn.errors import BoundsError, DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.tensor import Variable


class Torchlike:
    """An array of another framework that refuses to be converted."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use detach().")


ONES = np.ones((2, 3))


def leaf(data=ONES, **keywords):
    return tg.Tensor(data, requires_grad=True, **keywords)


NUMBERS = "Pass numbers, nested lists of equal lengths, or an array (numpy.asarray(x))."
AGREE = "Aligned at the right, lengths must be equal or 1; insert axes with x[:, None]."
CONVERT = "Convert it with astype(float), or differentiate another argument (argnums=)."

MISTAKES = {
    # shapes
    "shapes that do not broadcast": (
        lambda x: x + np.ones(4),
        ShapeError,
        (
            "add(float64 (2, 3), float64 (4,)): operands could not be broadcast together with shapes "  # noqa: E501  (a message is read whole)
            "(2,3) (4,)."
        ),
        AGREE,
    ),
    "matrices that do not match": (
        lambda x: x @ x,
        ShapeError,
        (
            "matmul(float64 (2, 3), float64 (2, 3)): the axes that are summed over have 3 and 2 "
            "elements."
        ),
        "Transpose (.mT) or reshape an operand so that these lengths are equal.",
    ),
    "reshape to another size": (
        lambda x: x.reshape(4, 2),
        ShapeError,
        "reshape(float64 (2, 3), shape=(4, 2)): cannot reshape array of size 6 into shape (4,2).",
        "Keep the number of elements; one length may be -1.",
    ),
    "transpose of three axes": (
        lambda x: tg.Tensor(np.ones((2, 2, 2))).T,
        ShapeError,
        ".T of a tensor of shape (2, 2, 2): it is defined for matrices only.",
        "Use .mT for the last two axes, or permute_dims.",
    ),
    # axes and indices
    "axis out of range": (
        lambda x: x.sum(axis=5),
        ShapeError,
        "sum(float64 (2, 3), axis=5): axis 5 is out of bounds for array of dimension 2.",
        "Use different axes from -2 to 1.",
    ),
    "axis of a scalar": (
        lambda x: tg.sort(x[0, 0]),
        ShapeError,
        "sort(float64 ()): axis -1 is out of bounds for array of dimension 0.",
        "A scalar has no axes; give it one with x[None].",
    ),
    "axis of scalars that are stacked": (
        lambda x: tg.stack([x[0, 0], x[0, 1]], axis=3),
        ShapeError,
        "stack(float64 (), float64 (), axis=3): axis 3 is out of bounds for array of dimension 1.",
        "Use different axes from -1 to 0.",
    ),
    "axis of a composition out of range": (
        lambda x: tg.softmax(x, axis=5),
        ShapeError,
        "softmax of shape (2, 3) along axis=5.",
        "Use different axes from -2 to 1.",
    ),
    "composition along an axis of a scalar": (
        lambda x: tg.softmax(x[0, 0]),
        ShapeError,
        "softmax of shape () along axis=-1.",
        "A scalar has no axes; give it one with x[None].",
    ),
    "axis that is no number": (
        lambda x: x.sum(axis="rows"),
        DTypeError,
        "sum(float64 (2, 3), axis='rows'): 'str' object cannot be interpreted as an integer.",
        "Check the operands and keywords; see help(tinygrad_bn.sum).",
    ),
    "index out of range": (
        lambda x: x[7],
        BoundsError,
        "getitem(float64 (2, 3), index=(7,)): index 7 is out of bounds for axis 0 with size 2.",
        "Index within the shape.",
    ),
    "index of floats": (
        lambda x: x[np.array([1.0])],
        DTypeError,
        "Index of dtype float64.",
        "Index with integers, booleans, slices or None.",
    ),
    "mask of another shape": (
        lambda x: x[np.array([True, False, True])],
        BoundsError,
        (
            "getitem(float64 (2, 3), bool (3,), index=('array',)): boolean index did not match indexed "  # noqa: E501  (a message is read whole)
            "array along axis 0; size of axis is 2 but size of corresponding boolean axis is 3."
        ),
        "Give the mask the shape that it indexes.",
    ),
    "update without an index": (
        lambda x: x.at.set(1.0),
        ShapeError,
        "at.set without an index.",
        "Write x.at[index].set(value).",
    ),
    # dtypes
    "integer leaf": (
        lambda x: tg.Tensor([1, 2], requires_grad=True, name="labels"),
        DTypeError,
        "The tensor 'labels' of dtype int64 cannot require a gradient: it is not floating-point.",
        "Convert it first: Tensor(data, dtype=float, requires_grad=True).",
    ),
    "integer argument of grad": (
        lambda x: tg.grad(np.square)(3),
        DTypeError,
        "argument 0 of square is the int 3: gradients exist for floating-point values only.",
        "Pass 3.0.",
    ),
    "integer leaf in a container": (
        lambda x: tg.grad(np.square)({"w": [1.0, np.arange(2)]}),
        DTypeError,
        (
            "argument 0 of square['w'][1] has dtype int64: gradients exist for floating-point values "  # noqa: E501  (a message is read whole)
            "only."
        ),
        CONVERT,
    ),
    "bits of floats": (
        lambda x: x & 1,
        DTypeError,
        (
            "bitwise_and(float64 (2, 3), 1): ufunc 'bitwise_and' not supported for the input types, "  # noqa: E501  (a message is read whole)
            "and the inputs could not be safely coerced to any supported types according to the "
            "casting rule ''safe''."
        ),
        "Convert the operands with astype.",
    ),
    "complex result": (
        lambda x: x * 1j,
        DTypeError,
        "multiply of a tensor that requires grad gave a complex result.",
        "Gradients exist for real tensors only: keep real and imaginary parts in two tensors.",
    ),
    "unknown dtype": (
        lambda x: tg.Tensor([1.0], dtype="flaot32"),
        DTypeError,
        "dtype='flaot32' is no type of numbers.",
        "Use float32, float64, int64, bool, ...",
    ),
    # foreign objects
    "text": (
        lambda x: tg.Tensor("abc"),
        DTypeError,
        "A str cannot become a tensor: it holds text.",
        NUMBERS,
    ),
    "objects": (
        lambda x: tg.Tensor([object()]),
        DTypeError,
        "A list cannot become a tensor: it holds objects that are not numbers.",
        NUMBERS,
    ),
    "ragged list": (
        lambda x: x - [[1.0, 2.0], [3.0]],
        DTypeError,
        "subtract, operand 1: a list cannot become a tensor: its nested lists have unequal lengths.",  # noqa: E501  (a message is read whole)
        NUMBERS,
    ),
    "tensor of another framework": (
        lambda x: x * Torchlike(),
        DTypeError,
        (
            f"multiply, operand 1: a {__name__}.Torchlike cannot become a tensor: Can't call numpy() "  # noqa: E501  (a message is read whole)
            "on Tensor that requires grad. Use detach()."
        ),
        NUMBERS,
    ),
    "None": (
        lambda x: x + None,
        DTypeError,
        "add(float64 (2, 3), None): unsupported operand type(s) for +: 'float' and 'NoneType'.",
        "Pass a tensor, an array or a number for None; does a function lack its return?",
    ),
    "list of tensors": (
        lambda x: tg.Tensor([x, x]),
        GradientError,
        "A list that holds a tensor which requires a gradient would lose the gradient.",
        "Join tensors with stack or concat; detach() those whose gradient is not wanted.",
    ),
    # NumPy
    "ufunc without a row": (
        lambda x: np.heaviside(x, 0.5),
        DTypeError,
        "numpy.heaviside cannot be applied to a Tensor: it would lose the gradient.",
        "Use functions of tinygrad_bn, or np.asarray(x) without gradient.",
    ),
    "method of a ufunc": (
        lambda x: np.add.reduce(x),  # noqa: PLW0108  (its line is asked for)
        DTypeError,
        "numpy.add.reduce cannot be applied to a Tensor: it would lose the gradient.",
        "Use tinygrad_bn.sum.",
    ),
    "array changed in place by a tensor": (
        lambda x: np.zeros((2, 3)).__iadd__(x),
        DTypeError,
        "numpy.add with out= cannot be applied to a Tensor: it would lose the gradient.",
        "Write y = y + x for y += x: an array cannot hold a recorded result.",
    ),
    "function of a sub-module": (
        lambda x: np.linalg.norm(x),  # noqa: PLW0108  (its line is asked for)
        DTypeError,
        "numpy.linalg.norm cannot be applied to a Tensor: it has no recorded form.",
        "Use functions of tinygrad_bn, or np.asarray(x) without gradient.",
    ),
    "keyword that only NumPy has": (
        lambda x: np.std(x, ddof=1),
        DTypeError,
        "numpy.std of a Tensor: got an unexpected keyword argument 'ddof'.",
        "See help(tinygrad_bn.std).",
    ),
    # in place, truth and size
    "item assignment": (
        lambda x: x.__setitem__(0, 1.0),
        DTypeError,
        "Item assignment to a tensor: tensors are immutable values.",
        "Write x = x.at[index].set(value); it returns a new tensor, with its gradient.",
    ),
    "item deletion": (
        lambda x: x.__delitem__(0),
        DTypeError,
        "Deletion of items of a tensor: tensors are immutable values.",
        "Index the elements to keep; it returns a new tensor, with its gradient.",
    ),
    "assign to a tensor": (
        lambda x: x.assign(ONES),
        GradientError,
        "assign to a Tensor: tensors are immutable values.",
        "Make it an nn.Parameter or nn.Buffer, or compute a new tensor.",
    ),
    "truth of many elements": (
        lambda x: bool(x > 0),
        ShapeError,
        "bool() of a tensor of shape (2, 3): it has 6 elements, not one.",
        "Reduce it first (any, all, sum, ...) or index one element.",
    ),
    "item of many elements": (
        lambda x: x.item(),
        ShapeError,
        "item() of a tensor of shape (2, 3): it has 6 elements, not one.",
        "Reduce it first (any, all, sum, ...) or index one element.",
    ),
    # gradients
    "backward without a cotangent": (
        lambda x: (x * 2).backward(),
        GradientError,
        "backward of a tensor of shape (2, 3) without a cotangent.",
        "Reduce it to one element (loss.mean()), or pass gradient= of its shape.",
    ),
    "cotangent of another shape": (
        lambda x: (x * 2).backward(np.ones(3)),
        ShapeError,
        "backward of a tensor of shape (2, 3): gradient has shape (3,).",
        "Pass a cotangent of the tensor's own shape.",
    ),
    "backward without a graph": (
        lambda x: x.detach().sum().backward(),
        GradientError,
        "backward of a tensor of shape () that does not require a gradient.",
        (
            "Compute it from a tensor with requires_grad=True, outside no_grad, and through "
            "differentiable operations."
        ),
    ),
    "requires_grad of a result": (
        lambda x: setattr(x.sum(), "requires_grad", False),
        GradientError,
        "requires_grad of a result of sum cannot be changed.",
        "Use detach() for a tensor outside the graph.",
    ),
    "gradient of a vector": (
        lambda x: tg.grad(np.square)(np.ones(3)),
        GradientError,
        "grad of square: the result must be a tensor of one element, not a tensor of shape (3,).",
        "Reduce it (sum, mean), or use jacobian or vjp.",
    ),
    "gradient of a float": (
        lambda x: tg.grad(float)(1.0),
        GradientError,
        "grad of float: the result must be a tensor of one element, not a float.",
        "Return a tensor: float(), item() and np.asarray leave the graph.",
    ),
    # compositions
    "label out of range": (
        lambda x: tg.cross_entropy(x, [0, 3]),
        BoundsError,
        "cross_entropy: label 3 at index (1,) for 3 classes.",
        "Labels go from 0 to 2; mark others with ignore_index.",
    ),
    "labels of floats": (
        lambda x: tg.cross_entropy(x, [0.0, 1.0]),
        DTypeError,
        "cross_entropy: target float64 (2,) for logits float64 (2, 3) with classes along axis 1.",
        "Pass integer labels of shape (2,), or probabilities of shape (2, 3).",
    ),
    "batch of one": (
        lambda x: tg.batch_norm(x[:1]),
        ShapeError,
        (
            "batch_norm of shape (1, 3) over axes (0,): 1 value per group, whose deviation from its "  # noqa: E501  (a message is read whole)
            "own mean is always 0."
        ),
        "Use a batch of at least two, or running statistics (eval mode, stats=).",
    ),
    "gamma of another shape": (
        lambda x: tg.batch_norm(x, gamma=[1.0, 2.0]),
        ShapeError,
        "batch_norm: gamma of shape (2,) does not fit the axes that are kept, (3,).",
        "Give it shape (3,) or (1, 3).",
    ),
    "unknown reduction": (
        lambda x: tg.mse_loss(x, ONES, reduction="avg"),
        ShapeError,
        "mse_loss: reduction='avg'.",
        'Use "mean", "sum" or "none".',
    ),
}


@pytest.mark.parametrize(("mistake", "kind", "what", "fix"), MISTAKES.values(), ids=list(MISTAKES))
def test_the_whole_message_and_nothing_changed(mistake, kind, what, fix):
    x = leaf()
    number = inspect.getsourcelines(mistake)[1]
    with pytest.raises(kind) as caught:
        mistake(x)
    lines = {number, number + 1}
    assert str(caught.value) in {f"{what}\n  at {__file__}:{n}\n  fix: {fix}" for n in lines}
    assert type(caught.value) is kind
    np.testing.assert_array_equal(x.data, ONES)
    assert x.grad is None
    assert (x * 1.0).requires_grad


def test_the_place_is_the_line_of_the_call_not_of_the_definition():
    x = leaf()

    def model():
        return x.sum(axis=3)

    with pytest.raises(ShapeError) as caught:
        model()
    assert caught.value.where.line == inspect.getsourcelines(model)[1] + 1


def test_softmax_twice_is_refused_with_its_path():
    z = leaf()
    p = tg.softmax(z)
    number = inspect.currentframe().f_lineno - 1
    with pytest.raises(ShapeError) as caught:
        tg.cross_entropy(p, [0, 1])
    assert caught.value.what == (
        "cross_entropy of the result of a softmax: softmax would be applied twice. "
        f"Path: softmax at {__file__}:{number} -> cross_entropy."
    )
    assert caught.value.fix == "Pass the logits; or use nll_loss(log_softmax(z), labels)."


def test_a_refused_assignment_leaves_the_value():
    w = Variable([1.0, 2.0], name="w", requires_grad=True)
    with pytest.raises(ShapeError) as caught:
        w.assign([1.0, 2.0, 3.0])
    assert caught.value.what == "assign to w of shape (2,): the value has shape (3,)."
    assert caught.value.fix == "Assign a value of the same shape."
    with pytest.raises(DTypeError, match="assign to w of dtype float64: the value is complex128"):
        w.assign([1j, 2j])
    assert w.tolist() == [1.0, 2.0]


def test_a_refused_backward_leaves_every_gradient():
    w, x = Variable([2.0], requires_grad=True, name="w"), leaf([3.0])
    (w * x).sum().backward()
    loss = (w * x * x).sum()
    w.assign([5.0])
    with pytest.raises(GradientError) as caught:
        loss.backward(create_graph=True)
    assert "whose operand w was assigned after the recording" in caught.value.what
    assert (w.grad.tolist(), x.grad.tolist()) == ([3.0], [2.0])


def test_an_error_inside_a_transform_or_scope_closes_both():
    def bad(x):
        with tg.scope("layer"):
            return x.sum(axis=9)

    with pytest.raises(ShapeError), tg.no_grad():
        tg.trace(tg.grad(bad), 1.0)
    y = leaf() * 2
    assert (y.scope, y.requires_grad, (tg.Tensor(1.0) * 2).op) == (None, True, None)


def test_every_error_is_of_our_hierarchy_and_of_pythons():
    pairs = {
        errors.ShapeError: ValueError,
        errors.DTypeError: TypeError,
        errors.BoundsError: IndexError,
        errors.GradientError: RuntimeError,
        errors.TraceError: RuntimeError,
        errors.OptionalDependencyError: ImportError,
        errors.DataNotFoundError: FileNotFoundError,
        errors.FileError: ValueError,
        errors.SearchError: RuntimeError,
    }
    for ours, theirs in pairs.items():
        assert issubclass(ours, errors.TinygradError)
        assert issubclass(ours, theirs)
    found = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)}
    assert found == {errors.TinygradError, *pairs}


def test_the_users_traceback_ends_with_the_cause():
    with pytest.raises(ShapeError) as caught:
        leaf().sum(axis=5)
    assert isinstance(caught.value.__cause__, np.exceptions.AxisError)


def test_a_generator_that_opens_a_scope_leaves_the_callers_blocks_alone():
    x = leaf()

    def batches():
        with tg.scope("epoch"):
            yield 1
            yield 2

    running = batches()
    next(running)
    with tg.no_grad():
        list(running)
        assert not (x * 2).requires_grad
    assert (x * 2).scope is None


def test_views_of_a_tensor_cannot_be_made_writable():
    x = tg.Tensor(np.ones(4))
    for view in (x.reshape(2, 2).data, x.data, x[1:].data):
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.setflags(write=True)


def test_a_parameter_is_not_replaced_by_a_result():
    layer = tg.nn.Linear(2, 1, rng=0)
    with pytest.raises(DTypeError, match=r"weight\.assign\(value\)"):
        layer.weight -= 0.1 * layer.weight
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("mistake", "mend"),
    [
        (lambda x: tg.jvp(tg.sin, x, x), "(x,), (v,)"),
        (lambda x: tg.hvp(tg.sum, x, x), "(x,), (v,)"),
        (lambda x: tg.grad(tg.sum, x), "write grad(f)(x)"),
        (lambda x: tg.jacobian(tg.sin, x), "write jacobian(f)(x)"),
        (lambda x: tg.trace(tg.sin(x)), "trace(f, x), not trace(f(x))"),
        (lambda x: tg.concat(x, x), "concat(arrays"),
        (lambda x: tg.grad(lambda p: p["w"].sum())({"w": x, "n": 3}), "Pass 3.0"),
        (lambda x: tg.cross_entropy(x, np.zeros((2, 3), int)), "astype(float)"),
    ],
)
def test_a_transform_called_the_wrong_way_says_the_right_one(mistake, mend):
    with pytest.raises(tg.errors.TinygradError) as caught:
        mistake(leaf())
    assert mend in caught.value.fix
