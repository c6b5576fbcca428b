"""Makes the assertions of the conformance suite tell what they compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("synthians_memory.testing.backend_suite")
