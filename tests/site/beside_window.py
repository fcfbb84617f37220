"""The program with its inventories as beside a window, where a process of its own asks the servers: what ends there in some state
has to end in it here too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from console.cli.main import main  # noqa: E402
from console.servers.inventory import InventoryService  # noqa: E402

if __name__ == "__main__":
    InventoryService.beside_window = True
    sys.exit(main())
