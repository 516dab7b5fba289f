"""A hook of MkDocs: pages link to files all over the repository, so the site has these, too, in the same places."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "loadtest/README.md",
    "docs",
    "config",
    "deploy",
)


def on_config(config):  # type: ignore[no-untyped-def]  # MkDocs finds it by its name
    """Build from a directory of links to all that is shown."""
    made = ROOT / "build" / "handbook"
    for name in SHOWN:
        link = made / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    config.docs_dir = str(made)
    return config
