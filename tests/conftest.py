"""Settings and fixtures for all tests: strict promotion, warnings as errors, two devices, no download."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, settings

import jaxllama  # before jax, so that its XLA flags count

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None, max_examples=100)
settings.load_profile("ci")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real vocabularies and a real small model, which lie beside the repository and not in it."""
    if not _SHARED.exists():
        pytest.skip("needs ../shared/data (real vocabularies and a small model), which is not part of the repository")
    return _SHARED


@pytest.fixture(scope="session")
def story_model() -> jaxllama.Model:
    """The model in the package, computed in float32 throughout."""
    return jaxllama.load(n_ctx=256, exact=True)
