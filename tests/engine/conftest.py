"""Makes the assertions of the conformance suite tell what they compared."""

from __future__ import annotations

import pytest

for name in ("store_batch", "store_entity", "store_import", "store_search", "store"):
    pytest.register_assert_rewrite(f"synthians_memory.testing.{name}_suite")
