"""Settings from YAML, then the environment, then secret files; all problems at once, each with its position.

No secret ever becomes part of a problem, or of an exception: errors of libraries are turned into text first and
raised as ours afterwards, outside of their handlers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from shield.config.checks import check
from shield.config.layers import read_environment, read_file, read_named_files, read_secret_directory
from shield.config.notes import notes_on
from shield.config.origin import SECRETS
from shield.config.places import KeyPath, Layer, Place, Problem, Tree
from shield.config.settings import Settings
from shield.config.wording import problems_of
from shield.errors import ConfigError

SECRET_DIRECTORIES = (Path("/run/secrets"),)
"""The directory of containers' secrets. Other programs may have theirs there, too."""


@dataclass(frozen=True)
class Loaded:
    """Settings; where each secret came from, as `{("origins", "fra", "secret_key"): "shield.yaml:12"}`; and notes on
    settings with unwelcome effects.
    """

    settings: Settings
    secrets: Mapping[KeyPath, str]
    notes: tuple[str, ...]


def load(
    path: Path | None, *, environ: Mapping[str, str], secret_directories: Sequence[Path] = SECRET_DIRECTORIES
) -> Loaded:
    """Settings from a file, variables, `secret_directories` and systemd's `$CREDENTIALS_DIRECTORY`.

    Raises ConfigError with all problems.
    """
    root = Place(Layer.YAML, str(path)) if path is not None else Place(Layer.ENVIRONMENT, "environment")
    tree = Tree(root)
    problems = read_file(path, tree) if path is not None else []
    unread = bool(problems) and not tree.values  # so don't report missing keys
    problems += read_environment(environ, tree)
    notes: list[str] = []
    for directory in secret_directories:
        found, noted = read_secret_directory(directory, tree, own=False)
        problems += found
        notes += noted
    if own := environ.get("CREDENTIALS_DIRECTORY"):
        problems += read_secret_directory(Path(own), tree, own=True)[0]
    problems += read_named_files(tree)

    settings = None
    if not unread:
        settings, wrong = _validated(tree)
        problems += wrong
        problems += check(tree, settings)
    if problems or settings is None:
        raise ConfigError(_lines(problems))
    return Loaded(settings, _secrets(settings, tree), (*notes, *notes_on(settings, tree)))


def _validated(tree: Tree) -> tuple[Settings | None, list[Problem]]:
    try:
        return Settings.model_validate(tree.values), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, problems_of(details, tree)


def _lines(problems: list[Problem]) -> list[str]:
    """In the order of positions, each once."""
    ordered = sorted(problems, key=lambda problem: (problem.place, [str(key) for key in problem.path]))
    return list(dict.fromkeys(str(problem) for problem in ordered))


def _secrets(settings: Settings, tree: Tree) -> dict[KeyPath, str]:
    """Those of origins in their order, then those of access: each key of signed URLs separately."""
    paths: list[KeyPath] = [
        ("origins", name, key)
        for name, origin in settings.origins.items()
        for key in SECRETS
        if getattr(origin, key) is not None
    ]
    access = settings.access
    if access is not None and access.header is not None:
        paths.append(("access", "header", "secrets"))
    if access is not None and access.signed_urls is not None:
        paths += [("access", "signed_urls", "keys", name) for name in access.signed_urls.keys]
    return {path: str(tree.place(path)) for path in paths}
