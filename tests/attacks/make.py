"""The attacks: hostile .wz files by name, each with how it has to be refused.

`python tests/attacks/make.py FOLDER` writes them. All are made here, the same each time, with right hashes wherever the attack
is behind them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attacks_on_codecs  # noqa: F401  # fills ATTACKS
import attacks_on_containers  # noqa: F401
import attacks_on_families  # noqa: F401
import attacks_on_headers  # noqa: F401
import attacks_on_layouts  # noqa: F401
from hostile import ATTACKS


def main(folder: Path) -> None:
    """Write all of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, attack in ATTACKS.items():
        (folder / f"{name}.wz").write_bytes(attack.make())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
