"""The command `shield`, also as `python -m shield`."""

from __future__ import annotations

import sys

from shield.start import plain_wish, start


def main() -> None:
    wish = plain_wish(sys.argv[1:])
    if wish is not None:
        sys.exit(start(wish))
    from shield.cli import main as run_command  # `serve` does without it

    run_command()


if __name__ == "__main__":
    main()
