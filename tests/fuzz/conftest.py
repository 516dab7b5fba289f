from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *[f"tests.fuzz.{module}" for module in ("target", "syntax", "caching", "naming", "wire", "stored", "given")]
)
