"""A process that appends entries to a ledger, all of them as fast as it can: `appending.py DIRECTORY NAME COUNT`."""

from __future__ import annotations

import sys

from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.local import LocalBackend

if __name__ == "__main__":
    directory, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    ledger = Ledger(LocalBackend(directory, create=True), wait=100)
    for number in range(count):
        sys.stdout.write(ledger.write_log({"task": name, "inputs": {"number": number}}) + "\n")
    ledger.close()
