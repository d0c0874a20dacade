"""The pytest fixture `gradcheck`; NumPy and the checker are imported when a test asks for it."""

from typing import Any

import pytest


@pytest.fixture
def gradcheck() -> Any:
    """The module nplm.gradcheck: gradcheck.check(loss, params, grads), gradcheck.check_layer(forward, backward, x)."""
    from nplm import gradcheck as module

    return module
