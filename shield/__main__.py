"""python -m shield"""

from __future__ import annotations

from shield.cli import main

if __name__ == "__main__":
    main()
