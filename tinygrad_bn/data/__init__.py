"""Data: real and made-up sets, standardising, splitting, batches. All of it plain NumPy arrays."""

from tinygrad_bn.data.generators import blobs, moons, spirals
from tinygrad_bn.data.images import Splits, load_fashion_mnist, load_mnist
from tinygrad_bn.data.loading import Dataset, load_digits
from tinygrad_bn.data.splitting import batches, train_test_split
from tinygrad_bn.data.standardising import Standardizer

__all__ = [
    "Dataset",
    "Splits",
    "Standardizer",
    "batches",
    "blobs",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "moons",
    "spirals",
    "train_test_split",
]
