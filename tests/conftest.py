"""What every test runs under; fixtures live beside the tests that use them."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

# A busy machine is no failure, so examples have no deadline; CI draws the same examples each time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# No test, and no process that one starts, reads the configuration of whoever runs it.
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).resolve().parent / "no_configuration")
