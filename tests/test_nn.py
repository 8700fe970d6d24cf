"""Modules: what they hold, their state, layers, and batch norm's three switches."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import tinygrad_bn as tg
from tinygrad_bn import data, nn, optim
from tinygrad_bn.errors import DTypeError, ShapeError, TinygradError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.sweep import ancestors

EPS = np.finfo(np.float64).eps


def mlp(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(2, 8, rng=rng, dtype=dtype),
        nn.BatchNorm(8, dtype=dtype),
        nn.ReLU(),
        nn.Linear(8, 3, rng=rng, dtype=dtype),
    )


def points(n=16, features=2, seed=1):
    return np.random.default_rng(seed).normal(size=(n, features))


class Net(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter(2.0)
        self.constant = tg.Tensor(5.0)
        self.blocks = [nn.Linear(2, 2, rng=0), [nn.Linear(2, 2, bias=False, rng=1)]]
        self.heads = {"a": nn.Linear(2, 1, rng=2)}
        self.count = nn.Buffer(0.0)

    def forward(self, x):
        for layer in (self.blocks[0], self.blocks[1][0]):
            x = tg.tanh(layer(x))
        return self.scale * self.heads["a"](x) + self.constant


# what a module holds ---------------------------------------------------------------------------


def test_parameters_buffers_and_modules_are_found_in_nested_containers_in_order():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "scale", "blocks.0.weight", "blocks.0.bias", "blocks.1.0.weight", "heads.a.weight",
        "heads.a.bias",
    ]  # fmt: skip
    assert [name for name, _ in net.named_buffers()] == ["count"]
    assert [name for name, _ in net.named_modules()] == ["", "blocks.0", "blocks.1.0", "heads.a"]
    assert net.parameters()[0] is net.scale
    assert net.buffers()[0] is net.count
    assert net.modules()[0] is net


def test_a_shared_parameter_counts_once_and_stays_shared():
    class Tied(nn.Module):
        def __init__(self):
            self.first = nn.Linear(2, 2, rng=0)
            self.second = nn.Linear(2, 2, rng=1)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x))

    tied = Tied()
    names = ["first.weight", "first.bias", "second.bias"]
    assert [name for name, _ in tied.named_parameters()] == names
    gradient = tg.grad(lambda m: m(points()).sum())(tied)
    assert gradient.first.weight is gradient.second.weight
    (tied(points()).sum()).backward()
    np.testing.assert_array_equal(gradient.first.weight.data, tied.first.weight.grad.data)
    again = copy.deepcopy(tied)
    assert again.first.weight is again.second.weight
    assert again.first.weight is not tied.first.weight


def test_a_module_that_knows_its_parent_is_walked_once():
    parent, child = nn.Module(), nn.Module()
    parent.child, child.parent, child.weight = child, parent, nn.Parameter(1.0)
    assert [name for name, _ in parent.named_parameters()] == ["child.weight"]
    assert repr(parent) == "Module()\n  child: Module(weight=())\n    parent: ..."
    assert tg.grad(lambda m: m.child.weight**2)(parent).child.weight.item() == 2.0


def test_training_belongs_to_each_module():
    model = mlp()
    assert model.train() is model
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model[1].train()
    assert [m.training for m in model.modules()] == [False, False, True, False, False]
    assert mlp().training


def test_a_call_opens_a_scope_named_after_the_class():
    model = mlp()
    y = model(points())
    assert [s.name for s in y.scope.path] == ["Sequential", "Linear"]
    assert {n.scope.path[1].name for n in ancestors([y]) if n.op} == {"Linear", "BatchNorm", "ReLU"}


def test_zero_grad_forgets_all_gradients():
    model = mlp()
    model(points()).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_repr_is_a_tree():
    assert repr(mlp()) == (
        "Sequential()\n"
        "  layers.0: Linear(2, 8)\n"
        "  layers.1: BatchNorm(8, decay=0.9, correction=1)\n"
        "  layers.2: ReLU()\n"
        "  layers.3: Linear(8, 3)"
    )
    assert repr(Net()).startswith("Net(scale=(), constant=(), count=())\n  blocks.0: Linear(2, 2)")
    assert repr(nn.Conv2d(4, 8, (3, 1), stride=2, groups=2, bias=False)) == (
        "Conv2d(4, 8, (3, 1), stride=2, groups=2, bias=False)"
    )
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(2, 3, bias=False)"


def test_a_module_without_forward_says_so():
    with pytest.raises(TinygradError, match=r"(?s)The module Empty was called and has no forward"):
        type("Empty", (nn.Module,), {})()(1.0)


def test_a_parameter_is_not_overwritten_by_an_array():
    layer = nn.Linear(2, 2, rng=0)
    with pytest.raises(DTypeError, match=r"(?s)Linear.weight is a Parameter.*set to a ndarray"):
        layer.weight = np.zeros((2, 2))
    assert isinstance(layer.weight, nn.Parameter)
    layer.bias = None
    assert len(layer.parameters()) == 1


def test_parameters_and_buffers_own_their_data():
    array = np.ones(3)
    parameter, buffer = nn.Parameter(array, name="w"), nn.Buffer(array)
    array[:] = 7
    assert parameter.tolist() == buffer.tolist() == [1.0, 1.0, 1.0]
    assert parameter.requires_grad
    assert not buffer.requires_grad
    assert not nn.Parameter(array, requires_grad=False).requires_grad
    assert nn.Parameter([1, 2], dtype=np.float32).dtype == np.float32
    with pytest.raises(DTypeError, match="'n' of dtype int64 cannot require a gradient"):
        nn.Parameter([1, 2], name="n")


# transforms of modules ----------------------------------------------------------------------------


def test_grad_of_a_module_is_a_module_of_gradients():
    net, x = Net(), points()

    def loss(model, x):
        return (model(x) ** 2).sum()

    gradient = tg.grad(loss)(net, x)
    assert isinstance(gradient, Net)
    assert all(p.grad is None for p in net.parameters())
    loss(net, x).backward()
    found = dict(gradient.named_parameters())
    assert list(found) == [name for name, _ in net.named_parameters()]
    for name, p in net.named_parameters():
        np.testing.assert_array_equal(found[name].data, p.grad.data)
    assert gradient.constant is net.constant
    assert gradient.count is net.count


def test_transforms_of_modules_nest():
    net, x = Net(), points()

    def loss(model):
        return (model(x) ** 2).sum()

    gradient = tg.grad(loss)(net)
    product = tg.hvp(loss, (net,), (gradient,))
    slope = tg.jvp(loss, (net,), (gradient,))[1]
    squares = sum((g**2).sum().item() for g in flatten(gradient)[0])
    terms = sum(g.size for g in gradient.parameters()) * len(x)
    assert abs(slope.item() - squares) <= terms * EPS * abs(squares)

    tg.testing.check_gradients(loss, net, order=2, directions=1).raise_if_wrong()
    again = tg.vjp(tg.grad(loss), net)[1](gradient)
    for v, w in zip(flatten(product)[0], flatten(again)[0], strict=True):
        assert np.abs(v.data - w.data).max() <= terms * EPS * squares


def test_only_parameters_that_train_are_leaves():
    model = mlp()
    model[1].gamma.requires_grad = False
    leaves, paths, _ = flatten(model)
    assert ".layers.1.gamma" not in paths
    assert ".layers.1.beta" in paths
    assert len(leaves) == 5
    gradient = tg.grad(lambda m: m(points()).sum())(model)
    assert gradient[1].gamma is model[1].gamma


def test_a_module_traces_to_a_program_that_gives_the_same_bits():
    model, x = mlp().eval(), points()
    program = tg.trace(lambda model, x: model(x), model, x)
    space = {}
    exec(str(program), space)  # noqa: S102  (a program of our own)
    entry = next(v for k, v in space.items() if callable(v) and not k.startswith("_"))
    values = [t.data for t in program.inputs]
    np.testing.assert_array_equal(entry(*values, **program.constants), model(x).data)


# state ------------------------------------------------------------------------------------------


def test_state_is_copies_by_dotted_name_and_loads_back_bit_for_bit():
    model, other, x = mlp(0), mlp(1), points()
    model(x)
    state = model.state_dict()
    assert list(state) == [
        "layers.0.weight", "layers.0.bias", "layers.1.gamma", "layers.1.beta", "layers.1.average",
        "layers.1.spread", "layers.1.seen", "layers.1.samples", "layers.3.weight", "layers.3.bias",
    ]  # fmt: skip
    assert other.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(other.eval()(x).data, model.eval()(x).data)
    state["layers.0.bias"][:] = 99
    assert model[0].bias.data.max() == 0
    assert other[0].bias.data.max() == 0


def test_loading_lists_every_mismatch_at_once_and_changes_nothing():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Linear(3, 1, rng=0))
    before = model.state_dict()
    state = {
        "layers.0.weight": np.ones((3, 2)),
        "layers.0.bias": np.ones(4),
        "layers.1.bias": np.ones(1, np.float32),
        "layers.2.bias": np.ones(1),
    }
    with pytest.raises(ShapeError) as caught:
        model.load_state_dict(state)
    assert caught.value.what == (
        "load_state_dict of Sequential, 4 mismatches:\n"
        "  layers.1.weight: missing from the state\n"
        "  layers.2.bias: not in the module\n"
        "  layers.0.bias: shape (4,) in the state, (3,) in the module\n"
        "  layers.1.bias: dtype float32 in the state, float64 in the module"
    )
    with pytest.raises(ShapeError, match="2 mismatches"):
        model.load_state_dict(state, strict=False)
    after = model.state_dict()
    assert all(np.array_equal(after[k], before[k]) for k in before)


def test_loading_that_is_not_strict_returns_the_names_passed_over():
    model = nn.Linear(2, 1, rng=0)
    skipped = model.load_state_dict({"bias": [3.0], "extra": [1.0]}, strict=False)
    assert skipped == (["weight"], ["extra"])
    assert model.bias.item() == 3.0


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_copy_whole(clone):
    model, x = mlp(), points()
    model.append_me = nn.Dropout(0.5, rng=3)
    again = clone(model)
    assert type(again[0].weight) is nn.Parameter
    assert again[0].weight.name == "weight"
    np.testing.assert_array_equal(again(x).data, model(x).data)
    np.testing.assert_array_equal(again.append_me(x).data, model.append_me(x).data)
    again[0].weight.assign(again[0].weight.data * 0)
    assert np.abs(model[0].weight.data).max() > 0
    model(x)
    assert model[1].samples.item() == 32
    assert again[1].samples.item() == 16


# layers -------------------------------------------------------------------------------------------


def test_linear_multiplies_by_the_transposed_weight():
    layer, x = nn.Linear(2, 3, rng=0), points()
    layer.bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(x).data, x @ layer.weight.data.T + layer.bias.data)
    assert layer(x[0]).shape == (3,)
    assert layer(x.reshape(4, 4, 2)).shape == (4, 4, 3)
    assert nn.Linear(2, 3, dtype=np.float32)(x.astype(np.float32)).dtype == np.float32
    with pytest.raises(ShapeError, match=r"(?s)Linear\(2, 3\) of an input of shape \(16, 3\)"):
        layer(points(features=3))
    with pytest.raises(ShapeError, match="Linear: outputs=0"):
        nn.Linear(2, 0)
    with pytest.raises(ShapeError, match="initial='xavier'"):
        nn.Linear(2, 2, initial="xavier")


@pytest.mark.parametrize(("initial", "variance"), [("he", 2 / 300), ("glorot", 2 / 500)])
def test_initial_weights_have_the_documented_variance(initial, variance):
    weight = nn.Linear(300, 200, initial=initial, rng=0).weight.data
    # The sample variance of n normal numbers has standard deviation sqrt(2 / n) of itself.
    assert abs(weight.var() / variance - 1) < 5 * np.sqrt(2 / weight.size)
    assert abs(weight.mean()) < 5 * np.sqrt(variance / weight.size)
    window = nn.Conv2d(30, 20, (5, 2), initial=initial, rng=0).weight.data
    assert abs(window.var() / variance - 1) < 5 * np.sqrt(2 / window.size)


def test_randomness_is_explicit():
    same = [nn.Linear(3, 3, rng=5).weight.data for _ in range(2)]
    np.testing.assert_array_equal(*same)
    rng = np.random.default_rng(5)
    first, second = nn.Linear(3, 3, rng=rng), nn.Linear(3, 3, rng=rng)
    np.testing.assert_array_equal(first.weight.data, same[0])
    assert not np.array_equal(second.weight.data, same[0])
    assert not np.array_equal(nn.Linear(3, 3).weight.data, nn.Linear(3, 3).weight.data)


def test_conv2d_is_the_function_with_its_parameters():
    layer = nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2, rng=0)
    x = np.random.default_rng(0).normal(size=(2, 4, 7, 8))
    expected = tg.conv2d(x, layer.weight, layer.bias, stride=2, padding=1, groups=2)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    assert layer.weight.shape == (6, 2, 3, 2)
    with pytest.raises(ShapeError, match="groups=3 with 4 inputs and 6 outputs"):
        nn.Conv2d(4, 6, 3, groups=3)


def test_dropout_drops_in_training_only_and_keeps_the_mean():
    layer, x = nn.Dropout(0.25, rng=0), np.ones((100, 100))
    y = layer(x).data
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / y.size)
    assert not np.array_equal(layer(x).data, y)
    np.testing.assert_array_equal(nn.Dropout(0.25, rng=0)(x).data, y)
    np.testing.assert_array_equal(layer.eval()(x).data, x)
    with pytest.raises(ShapeError, match=r"Dropout: rate=1\.0"):
        nn.Dropout(1.0)


def test_flatten_joins_all_axes_but_the_first():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert nn.Flatten()(x).tolist() == x.reshape(2, 12).tolist()
    assert nn.Flatten()(np.zeros((0, 3, 4))).shape == (0, 12)


def test_layer_norm_standardises_each_sample():
    layer, x = nn.LayerNorm((2, 3)), np.random.default_rng(0).normal(size=(4, 2, 3))
    layer.gamma.assign(np.full((2, 3), 2.0))
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    expected = 2 * (x - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(layer(x).data, expected, rtol=0, atol=32 * EPS)
    assert repr(nn.LayerNorm(3, affine=False)) == "LayerNorm(3, affine=False)"
    with pytest.raises(ShapeError, match=r"LayerNorm\(1\) of an input of shape \(4, 2\)"):
        nn.LayerNorm(1)(np.zeros((4, 2)))


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.ReLU(), tg.relu),
        (nn.LeakyReLU(0.2), lambda x: tg.leaky_relu(x, slope=0.2)),
        (nn.ELU(1.5), lambda x: tg.elu(x, alpha=1.5)),
        (nn.GELU(), tg.gelu),
        (nn.SiLU(), tg.silu),
        (nn.Sigmoid(), tg.sigmoid),
        (nn.Tanh(), tg.tanh),
        (nn.Softplus(), tg.softplus),
        (nn.Softmax(axis=0), lambda x: tg.softmax(x, axis=0)),
    ],
    ids=repr,
)
def test_an_activation_module_is_its_function(layer, function):
    x = points()
    np.testing.assert_array_equal(layer(x).data, function(x).data)


def test_sequential_takes_functions_too():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), tg.tanh)
    np.testing.assert_array_equal(model(points()).data, np.tanh(model[0](points()).data))
    assert len(model) == len(list(model)) == 2
    with pytest.raises(ShapeError, match="Sequential: layer 1 is a float"):
        nn.Sequential(tg.tanh, 1.0)


# batch norm ---------------------------------------------------------------------------------------


def ewma(batches, *, decay, correction):
    """Run the textbook averages over batches of one column each."""
    mean, var = 0.0, 1.0
    for batch in batches:
        n = batch.size
        mean = decay * mean + (1 - decay) * batch.mean()
        var = decay * var + (1 - decay) * batch.var() * n / (n - correction)
    return mean, var


@pytest.mark.parametrize("correction", [0, 1])
def test_running_statistics_follow_the_decay(correction):
    layer = nn.BatchNorm(1, decay=0.8, correction=correction)
    columns = [points(n, 1, seed=n) for n in (5, 9, 4)]
    for x in columns:
        layer(x)
    mean, var = ewma(columns, decay=0.8, correction=correction)
    # Three updates of a mean over at most 9 numbers: some tens of roundings.
    np.testing.assert_allclose(layer.running_mean.data, [mean], rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(layer.running_var.data, [var], rtol=0, atol=64 * EPS)
    assert layer.samples.item() == 18


SWITCHES = [*itertools.product(["batch", "running"], [True, False], ["call", "layer"])]
SWITCHES += [("batch", True, "mode"), ("running", False, "mode")]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("use", "update", "place"), SWITCHES)
def test_the_three_switches_are_independent(use, update, train, place):
    layer, x = nn.BatchNorm(2), points() + 3
    layer.gamma.requires_grad = layer.beta.requires_grad = train
    layer.average.assign([1.0, -1.0])
    layer.spread.assign([4.0, 9.0])
    if place == "call":
        y = layer(x, use=use, update=update)
    elif place == "layer":
        layer.use, layer.update = use, update
        y = layer(x)
    else:
        y = layer.train(update)(x)
    mean, var = (x.mean(0), x.var(0)) if use == "batch" else ([1.0, -1.0], [4.0, 9.0])
    expected = (x - mean) / np.sqrt(np.asarray(var) + 1e-5)
    np.testing.assert_allclose(y.data, expected, rtol=0, atol=64 * EPS)
    assert (layer.running_mean.tolist() != [1.0, -1.0]) == update
    assert (layer.running_var.tolist() != [4.0, 9.0]) == update
    assert y.requires_grad == train


def test_eval_before_any_update_uses_mean_zero_and_variance_one():
    for settings in ({}, {"decay": None}, {"debias": True}):
        layer, x = nn.BatchNorm(2, **settings).eval(), points()
        np.testing.assert_array_equal(layer(x).data, x / np.sqrt(1 + 1e-5))
        assert layer.running_mean.tolist() == [0.0, 0.0]
        assert layer.running_var.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("settings", [{"decay": 0.0}, {"debias": True}, {"decay": None}], ids=str)
def test_eval_after_one_update_equals_training_without_correction(settings):
    layer, x = nn.BatchNorm(2, correction=0, **settings), points()
    trained = layer(x).data
    np.testing.assert_allclose(layer.eval()(x).data, trained, rtol=0, atol=64 * EPS)


def test_the_correction_enters_the_running_variance_only():
    plain, corrected, x = (
        nn.BatchNorm(2, correction=0, decay=0.0),
        nn.BatchNorm(2, decay=0.0),
        points(),
    )
    np.testing.assert_array_equal(plain(x).data, corrected(x).data)
    ratio = corrected.running_var.data / plain.running_var.data
    np.testing.assert_allclose(ratio, 16 / 15, rtol=4 * EPS)


@pytest.mark.parametrize("correction", [0, 1])
def test_cumulative_statistics_are_those_of_all_samples(correction):
    x = points(60, 3) * [1.0, 10.0, 100.0] + 50
    layer = nn.BatchNorm(3, decay=None, correction=correction)
    for part in np.split(x, [7, 11, 40]):
        layer(part)
    np.testing.assert_allclose(layer.running_mean.data, x.mean(0), rtol=60 * EPS)
    np.testing.assert_allclose(layer.running_var.data, x.var(0, ddof=correction), rtol=1e3 * EPS)
    assert layer.samples.item() == 60


def test_no_grad_in_training_still_updates():
    quiet, loud, x = nn.BatchNorm(2), nn.BatchNorm(2), points()
    with tg.no_grad():
        assert not quiet(x).requires_grad
    loud(x)
    np.testing.assert_array_equal(quiet.running_mean.data, loud.running_mean.data)
    assert quiet.samples.item() == 16


def test_a_checkpoint_updates_once_and_gives_the_same_gradients():
    plain, kept, x = mlp(), mlp(), points()
    (plain(x) ** 2).sum().backward()
    (tg.checkpoint(kept)(x) ** 2).sum().backward()
    ours, theirs = kept.state_dict(), plain.state_dict()
    assert kept[1].samples.item() == 16
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    for p, q in zip(kept.parameters(), plain.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.data)


def test_a_nested_checkpoint_updates_once():
    layer, x = nn.BatchNorm(2), points()
    inner = tg.checkpoint(layer)
    (tg.checkpoint(lambda x: inner(x) * 2)(tg.Tensor(x, requires_grad=True)) ** 2).sum().backward()
    assert layer.samples.item() == 16


def test_tracing_is_a_look_and_updates_nothing():
    model = mlp()
    tg.trace(model, points())
    assert model[1].samples.item() == 0


def test_second_derivatives_survive_an_update_of_the_statistics():
    layer, x = nn.BatchNorm(2, use="running"), tg.Tensor(points(), requires_grad=True)
    loss = (layer(x) ** 3).sum()
    assert layer.samples.item() == 16
    loss.backward(create_graph=True)
    gradient = x.grad
    x.grad = None
    gradient.sum().backward()
    scale = 1 / (1 + 1e-5)
    np.testing.assert_allclose(x.grad.data, 6 * x.data * scale**1.5, rtol=32 * EPS)


def test_a_bias_before_batch_norm_gets_no_gradient():
    model, x = mlp(), points(64)
    weights = np.random.default_rng(2).normal(size=(64, 3))
    (model(x) * weights).sum().backward()
    scale = np.abs(model[0].weight.grad.data).max()
    assert scale > 1e-2
    assert np.abs(model[0].bias.grad.data).max() <= 1e-12 * scale


def test_batch_norm_takes_channels_anywhere():
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 2))
    first, last = nn.BatchNorm(3), nn.BatchNorm(3, channel_axis=-1)
    y = first(x).data
    z = last(np.moveaxis(x, 1, -1)).data
    np.testing.assert_allclose(np.moveaxis(z, -1, 1), y, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(last.running_var.data, first.running_var.data, rtol=64 * EPS)
    assert nn.BatchNorm(3)(x[:1]).shape == (1, 3, 5, 2)
    assert first.eval()(x[:1, :, :1, :1]).shape == (1, 3, 1, 1)


def test_float32_layers_stay_float32():
    model, x = mlp(dtype=np.float32), points().astype(np.float32)
    y = model(x)
    y.sum().backward()
    assert y.dtype == np.float32
    assert all(p.dtype == p.grad.dtype == np.float32 for p in model.parameters())
    assert model[1].running_var.dtype == np.float32
    assert model.eval()(x).dtype == np.float32


def test_a_batch_of_one_in_training_raises_and_changes_nothing():
    layer = nn.BatchNorm(2)
    with pytest.raises(ShapeError, match=r"(?s)batch_norm of shape \(1, 2\) over axes \(0,\)"):
        layer(points(1))
    with pytest.raises(ShapeError, match=r"(?s)cannot update running statistics.*over axes \(0,\)"):
        layer(points(1), use="running")
    assert layer.samples.item() == 0
    assert layer.eval()(points(1)).shape == (1, 2)


def test_momentum_is_refused_with_its_translation():
    with pytest.raises(ShapeError) as caught:
        nn.BatchNorm(2, momentum=0.1)
    assert caught.value.what == "BatchNorm: momentum=0.1, a word with two opposite meanings."
    assert caught.value.fix == (
        "A momentum of PyTorch is decay=0.9 here; one of Keras is decay=0.1."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use": "both"}, "BatchNorm: use='both'"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"correction": 2}, "correction=2"),
    ],
)
def test_bad_settings_of_batch_norm_are_refused(settings, message):
    with pytest.raises(ShapeError, match=message):
        nn.BatchNorm(2, **settings)


def test_batch_norm_refuses_another_number_of_channels():
    layer = nn.BatchNorm(2)
    for x in (points(features=3), np.zeros(2), np.zeros((4, 3, 2))):
        with pytest.raises(ShapeError, match=r"(?s)BatchNorm\(2, .*axis 1 must hold 2 channels"):
            layer(x)
    assert layer.samples.item() == 0


def test_batch_norm_shows_its_decay_correction_and_switches():
    assert repr(nn.BatchNorm(3, decay=None, use="running", affine=False)) == (
        "BatchNorm(3, decay=None, correction=1, use='running', affine=False)"
    )


# all together ------------------------------------------------------------------------------------


def test_a_small_net_with_batch_norm_learns_the_moons():
    x, labels = data.moons(600, noise=0.1, rng=0)
    x_train, x_test, y_train, y_test = data.train_test_split(x, labels, rng=1, stratify=labels)
    scale = data.Standardizer().fit(x_train)
    x_train, x_test = scale.transform(x_train), scale.transform(x_test)
    rng = np.random.default_rng(2)
    model = nn.Sequential(
        nn.Linear(2, 32, rng=rng), nn.BatchNorm(32), nn.ReLU(), nn.Linear(32, 2, rng=rng)
    )
    steps = 20 * len(list(data.batches(x_train, size=50)))
    optimiser = optim.Adam(model.parameters(), optim.cosine(0.02, steps=steps))
    for _ in range(20):
        for a, b in data.batches(x_train, y_train, size=50, rng=rng):
            optimiser.zero_grad()
            tg.cross_entropy(model(a), b).backward()
            optimiser.step()
    model.eval()
    accuracy = (model(x_test).data.argmax(1) == y_test).mean()
    assert accuracy > 0.97
