"""`python -m synthians_memory.entrypoints.cli`: the program where its script is not on the path.

It is not another program.
"""

from __future__ import annotations

from synthians_memory.entrypoints.cli.app import main

if __name__ == "__main__":
    main()
