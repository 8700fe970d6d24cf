"""Hypothesis profiles, registered and loaded in this one place."""

import os

from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=50, suppress_health_check=_slow
)
settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=_slow)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))
