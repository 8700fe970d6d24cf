"""What all tests stand on."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """Ctrl-C interrupts: a shell starts what runs in the background with that switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
