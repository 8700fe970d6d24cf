"""What all tests stand on."""

import os
import signal

import pytest

import tinygrad_bn as tg


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """Ctrl-C interrupts: a shell starts what runs in the background with that switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def fashion_mnist():
    """The pictures of clothes; without them a test is skipped, but not where all must run."""
    try:
        return tg.data.load_fashion_mnist()
    except FileNotFoundError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
