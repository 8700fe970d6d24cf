"""Data: what is loaded, generated, standardised, split and batched."""

import sys

import numpy as np
import pytest

from tinygrad_bn import data
from tinygrad_bn.errors import OptionalDependencyError, ShapeError, TinygradError

EPS = np.finfo(np.float64).eps


# sets -------------------------------------------------------------------------------------------


def test_digits_are_float_pixels_and_integer_labels():
    digits = data.load_digits()
    assert digits.x.shape == (1797, 64)
    assert digits.x.dtype == np.float64
    assert (digits.x.min(), digits.x.max()) == (0.0, 16.0)
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(OptionalDependencyError) as caught:
        data.load_digits()
    assert caught.value.what == "load_digits needs scikit-learn, whose digits they are."
    assert caught.value.fix == 'Install the extra "demos": pip install "tinygrad_bn[demos]".'


@pytest.mark.parametrize(("make", "classes"), [(data.moons, 2), (data.blobs, 3), (data.spirals, 3)])
def test_generators_are_balanced_shuffled_and_repeatable(make, classes):
    x, labels = make(101, rng=4)
    assert x.shape == (101, 2)
    assert labels.dtype == np.int64
    counts = np.bincount(labels)
    assert len(counts) == classes
    assert counts.max() - counts.min() <= 1
    assert (np.diff(labels) != 0).sum() > 20
    np.testing.assert_array_equal(make(101, rng=4).x, x)
    np.testing.assert_array_equal(make(101, rng=np.random.default_rng(4)).x, x)
    assert not np.array_equal(make(101, rng=5).x, x)
    with pytest.raises(ShapeError, match=r"n=1, .*noise=-1"):
        make(1, noise=-1)


def test_moons_without_noise_lie_on_their_half_circles():
    x, labels = data.moons(50, noise=0.0, rng=0)
    first, second = x[labels == 0], x[labels == 1]
    np.testing.assert_allclose(np.hypot(*first.T), 1, rtol=4 * EPS)
    np.testing.assert_allclose(np.hypot(*(second - [1, 0.5]).T), 1, rtol=4 * EPS)
    assert first[:, 1].min() >= 0
    assert second[:, 1].max() <= 0.5


def test_spirals_without_noise_wind_as_said():
    x, labels = data.spirals(90, classes=3, turns=0.5, noise=0.0, rng=0)
    radius = np.hypot(*x.T)
    assert abs(radius.max() - 1) < 4 * EPS
    expected = 2 * np.pi * (0.5 * radius + labels / 3)
    turned = np.exp(1j * expected)
    np.testing.assert_allclose(x @ [1, 1j] / radius, turned, rtol=0, atol=64 * EPS)


def test_blobs_have_the_noise_asked_for():
    x, labels = data.blobs(6000, classes=2, features=3, noise=0.5, rng=0)
    for c in (0, 1):
        part = x[labels == c]
        # A standard deviation of n normal numbers is itself uncertain by 1 / sqrt(2 n).
        np.testing.assert_allclose(part.std(0), 0.5, rtol=5 / np.sqrt(2 * len(part)))


# standardising -----------------------------------------------------------------------------------


def test_standardizer_measures_the_training_set_only():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 5, (50, 4)), rng.normal(size=(20, 4))
    scale = data.Standardizer().fit(train)
    z = scale.transform(train)
    np.testing.assert_allclose(z.mean(0), 0, atol=50 * EPS)
    np.testing.assert_allclose(z.std(0), 1, rtol=50 * EPS)
    expected = (test - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(scale.transform(test), expected, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(
        scale.inverse_transform(scale.transform(test)), test, rtol=0, atol=64 * EPS
    )
    np.testing.assert_array_equal(data.Standardizer().fit_transform(train), z)
    assert repr(scale) == "Standardizer(4 features)"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_becomes_exactly_zero(dtype):
    x = np.stack([np.full(7, 1e10 / 3), np.arange(7)], 1).astype(dtype)
    scale = data.Standardizer().fit(x)
    z = scale.transform(x)
    assert z.dtype == dtype
    assert (z[:, 0] == 0).all()
    np.testing.assert_array_equal(scale.inverse_transform(z)[:, 0], x[:, 0])


def test_standardizer_takes_each_element_of_a_sample_for_a_feature():
    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 5), dtype=np.uint8)
    scale = data.Standardizer().fit(pictures)
    assert scale.mean.shape == scale.std.shape == (3, 5)
    flat = data.Standardizer().fit_transform(pictures.reshape(40, 15))
    np.testing.assert_array_equal(scale.transform(pictures).reshape(40, 15), flat)
    with pytest.raises(ShapeError) as caught:
        scale.transform(pictures.reshape(40, 15))
    assert caught.value.what == (
        "Standardizer.transform of shape (40, 15), fitted on samples of (3, 5)."
    )
    assert caught.value.fix == "Pass (N, 3, 5)."


@pytest.mark.parametrize("fitted", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_what_is_standardised_keeps_its_dtype(fitted, given):
    x = np.arange(12).reshape(4, 3)
    scale = data.Standardizer().fit(x.astype(fitted))
    z = scale.transform(x.astype(given))
    assert z.dtype == scale.inverse_transform(z).dtype == given


def test_statistics_are_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (20, 4)).astype(np.float32)
    scale = data.Standardizer().fit(x)
    np.savez(tmp_path / "scale.npz", **scale.state_dict())
    again = data.Standardizer()
    with np.load(tmp_path / "scale.npz") as file:
        again.load_state_dict(file)
    np.testing.assert_array_equal(again.transform(x), scale.transform(x))
    scale.state_dict()["mean"][:] = 0  # a copy
    np.testing.assert_array_equal(again.transform(x), scale.transform(x))
    with pytest.raises(TinygradError, match="used before it was fitted"):
        data.Standardizer().state_dict()


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ({"mean": [0.0]}, "of the names ['mean']."),
        ({"mean": [0.0], "std": [1.0, 2.0]}, "mean of float64 (1,) and std of float64 (2,)"),
        ({"mean": [0.0], "std": [-1.0]}, "are no statistics."),
        ({"mean": [np.nan], "std": [1.0]}, "are no statistics."),
        ({"mean": [0], "std": [1.0]}, "mean of int64 (1,)"),
        ({"mean": 0.0, "std": 1.0}, "mean of float64 ()"),
    ],
)
def test_what_are_no_statistics_is_refused_and_changes_nothing(state, what):
    scale = data.Standardizer().fit([[1.0], [3.0]])
    with pytest.raises(ShapeError) as caught:
        scale.load_state_dict(state)
    assert caught.value.what.startswith("Standardizer.load_state_dict")
    assert what in caught.value.what
    assert scale.state_dict() == {"mean": [2.0], "std": [1.0]}


def test_a_split_of_images_is_balanced():
    """As many of each class, where the counts allow it: 10 classes of 100, 200 for the test."""
    labels = np.repeat(np.arange(10), 100)
    train, test = data.train_test_split(labels, test_size=200, rng=0, stratify=labels)
    assert np.bincount(test).tolist() == [20] * 10
    assert np.bincount(train).tolist() == [80] * 10


def test_standardizer_refuses_what_does_not_fit():
    scale = data.Standardizer()
    for use in (scale.transform, scale.inverse_transform):
        with pytest.raises(TinygradError, match=r"(?s)used before it was fitted.*fit\(x_train\)"):
            use(np.ones((2, 2)))
    with pytest.raises(ShapeError, match=r"features \[1\] hold NaN or infinite values"):
        scale.fit([[1.0, np.nan], [2.0, 3.0]])
    assert repr(scale) == "Standardizer(not fitted)"
    scale.fit(np.arange(6).reshape(3, 2))
    with pytest.raises(
        ShapeError, match=r"transform of shape \(2, 3\), fitted on samples of \(2,\)"
    ):
        scale.transform(np.ones((2, 3)))
    for bad in (np.ones(3), np.ones((0, 3)), np.array([["a"]])):
        with pytest.raises(ShapeError, match=r"Standardizer\.fit of"):
            scale.fit(bad)


# splitting ----------------------------------------------------------------------------------------


def test_a_split_keeps_rows_together_and_loses_none():
    x, labels = np.arange(20).reshape(10, 2), np.arange(10)
    a, b, c, d = data.train_test_split(x, labels, test_size=0.25, rng=0)
    assert [len(part) for part in (a, b, c, d)] == [7, 3, 7, 3]
    assert sorted([*c, *d]) == list(range(10))
    np.testing.assert_array_equal(a[:, 0], 2 * c)
    np.testing.assert_array_equal(b[:, 0], 2 * d)
    again = data.train_test_split(labels, test_size=3, rng=0)
    np.testing.assert_array_equal(again[1], d)
    assert d.tolist() != sorted(d)


@pytest.mark.parametrize(
    ("counts", "test_size", "expected"),
    [
        ([60, 30, 10], 0.2, [12, 6, 2]),
        ([97, 2, 2], 10, [8, 1, 1]),
        ([10, 6, 4], 7, [4, 2, 1]),
        ([5, 5, 5], 4, [2, 1, 1]),
    ],
)
def test_a_stratified_split_keeps_proportions(counts, test_size, expected):
    labels = np.repeat(["a", "b", "c"][: len(counts)], counts)
    train, test = data.train_test_split(labels, test_size=test_size, rng=0, stratify=labels)
    assert np.unique(test, return_counts=True)[1].tolist() == expected
    assert len(train) + len(test) == sum(counts)
    assert len(np.unique(train)) == 3


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"test_size": 0}, "test_size=0"),
        ({"test_size": 1.0}, r"test_size=1\.0"),
        ({"test_size": 6}, "test_size=6"),
        ({"stratify": [0, 0, 1, 1]}, r"stratify has shape \(4,\)"),
        ({"stratify": [0, 0, 1, 1, 1, 2]}, "the smallest of 1 samples"),
        ({"stratify": [0, 0, 0, 1, 1, 1], "test_size": 1}, "cannot all be in 1 test"),
    ],
)
def test_a_split_that_cannot_be_is_refused(keywords, message):
    with pytest.raises(ShapeError, match=message):
        data.train_test_split(np.zeros(6), **keywords)


def test_lengths_that_differ_are_refused_at_the_call():
    with pytest.raises(ShapeError, match=r"train_test_split of arrays of shapes \(3,\), \(4,\)"):
        data.train_test_split(np.zeros(3), np.zeros(4))
    with pytest.raises(ShapeError, match=r"batches of arrays of shapes \(3, 1\), \(\)"):
        data.batches(np.zeros((3, 1)), np.zeros(()), size=2)
    with pytest.raises(ShapeError, match="batches of 3 samples: size=0"):
        data.batches(np.zeros(3), size=0)
    with pytest.raises(ShapeError, match="batches of 3 samples: size=4"):
        data.batches(np.zeros(3), size=4, drop_last=True)


# batches ------------------------------------------------------------------------------------------


def test_batches_give_every_sample_once():
    x = np.arange(10)
    parts = list(data.batches(x, -x, size=4, rng=0))
    assert [len(a) for a, _ in parts] == [4, 4, 2]
    seen = np.concatenate([a for a, _ in parts])
    assert sorted(seen) == x.tolist()
    assert seen.tolist() != x.tolist()
    assert all((a == -b).all() for a, b in parts)


def test_batches_follow_their_randomness():
    x = np.arange(10)

    def order(**keywords):
        return np.concatenate([a for (a,) in data.batches(x, size=3, **keywords)]).tolist()

    assert order(rng=1) == order(rng=1) != order(rng=2)
    rng = np.random.default_rng(1)
    assert order(rng=rng) != order(rng=rng)
    assert order(shuffle=False) == x.tolist()
    assert order(shuffle=False, drop_last=True) == list(range(9))


def test_a_variance_beyond_float16_is_measured_and_one_beyond_float64_refused():
    x = np.array([[1000], [2000], [3000], [4000]], np.float16)
    z = data.Standardizer().fit_transform(x)
    assert z.dtype == np.float16
    np.testing.assert_allclose(z, data.Standardizer().fit_transform(x.astype(float)), atol=2e-3)
    with pytest.raises(ShapeError) as caught:
        data.Standardizer().fit([[1e308], [-1e308]])
    assert caught.value.what == (
        "Standardizer.fit: the variance of a feature is too large for float64."
    )
