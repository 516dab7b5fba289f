"""For tests that put something else in the place of a method or a function of a module that may be compiled."""

from __future__ import annotations

import pytest

from shield.compiled import is_compiled

INTERPRETED_ONLY = pytest.mark.skipif(is_compiled(), reason="compiled classes don't let their methods be replaced")
"""The behaviour is the same compiled, but the test can't look into it there."""
