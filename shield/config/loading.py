"""Settings from YAML, then the environment, then secret files; all problems at once, each with its position.

No secret ever becomes part of a problem, or of an exception: errors of libraries are turned into text first and
raised as ours afterwards, outside of their handlers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from shield.config import alarms, cluster, purging
from shield.config.changes import held_over, waiting
from shield.config.checks import check
from shield.config.layers import read_environment, read_file, read_named_files, read_secret_directory
from shield.config.notes import notes_on
from shield.config.origin import SECRETS
from shield.config.places import KeyPath, Layer, Position, Problem, Tree, sources_of
from shield.config.settings import Settings
from shield.config.tracing import HEADERS
from shield.config.wording import problems_of
from shield.errors import ConfigError
from shield.replaced import Marks, marks_of
from shield.rules.tokens import TOKEN_VARIABLE

SECRET_DIRECTORIES = (Path("/run/secrets"),)
"""The directory of containers' secrets. Other programs may have theirs there, too."""

CERTIFICATES: KeyPath = ("tls",)
"""What `Loaded.files` has those of listeners under."""

OF_NODES: KeyPath = ("cluster", "tls")
"""And those of connections between nodes."""

_CREDENTIALS = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True)
class SettingsSource:
    """The sources of settings except secret files, which may be read again while the rest stays the same.

    `text` is that of the YAML file, or the error of reading it. Can be sent to another process.
    """

    path: Path | None
    text: bytes | OSError = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    directories: Sequence[Path]

    @classmethod
    def of(cls, path: Path | None, environ: Mapping[str, str], directories: Sequence[Path]) -> SettingsSource:
        """The sources in their present state."""
        try:
            text: bytes | OSError = b"" if path is None else path.read_bytes()
        except OSError as error:
            text = error
        kept = {
            name: value
            for name, value in environ.items()
            if name.upper().startswith(("SHIELD_", _CREDENTIALS)) and name != TOKEN_VARIABLE
        }
        return cls(path, text, kept, tuple(directories))

    def read(self) -> Read:
        """All layers laid over each other; reads files with secrets."""
        path, environ = self.path, self.environ
        root = Position(Layer.YAML, str(path)) if path is not None else Position(Layer.ENVIRONMENT, "environment")
        tree = Tree(root)
        problems = read_file(path, self.text, tree) if path is not None else []
        unread = bool(problems) and not tree.values  # so don't report missing keys
        found, notes = read_environment(environ, tree)
        problems += found
        for directory in self.directories:
            found, noted = read_secret_directory(directory, tree, own=False)
            problems += found
            notes += noted
        if own := environ.get(_CREDENTIALS):
            problems += read_secret_directory(Path(own), tree, own=True)[0]
        problems += read_named_files(tree)
        return Read(tree, problems, notes, unread)


@dataclass(frozen=True)
class Read:
    """Values that were read but not validated. `unread`: the file couldn't be read at all."""

    tree: Tree
    problems: list[Problem]
    notes: list[str]
    unread: bool


@dataclass(frozen=True)
class Loaded:
    """Settings; where each secret came from, as `{("origins", "fra", "secret_key"): "shield.yaml:12"}`; and notes on
    settings with unwelcome effects.

    `files` are the files with secrets and certificates that may be replaced while the node runs, by their owners:
    `("origins", "fra")`, `("admin",)`, `("access",)`, `("purge_method",)`, `("tls",)`, `("cluster",)`,
    `("cluster", "tls")`. `certificates` and `nodes_certificates` are marks of those of TLS, made before they are
    read.
    """

    settings: Settings
    secrets: Mapping[KeyPath, str]
    notes: tuple[str, ...]
    source: SettingsSource
    files: Mapping[KeyPath, tuple[Path, ...]]
    certificates: Marks
    nodes_certificates: Marks
    given: Settings  # as written: in `settings`, keys that need a restart may be older
    sources: Mapping[KeyPath, str] = field(default_factory=dict)  # where each value of `given` was given


def load(
    path: Path | None, *, environ: Mapping[str, str], secret_directories: Sequence[Path] = SECRET_DIRECTORIES
) -> Loaded:
    """Settings from a file, variables, `secret_directories` and systemd's `$CREDENTIALS_DIRECTORY`.

    Raises ConfigError with all problems.
    """
    return _loaded(SettingsSource.of(path, environ, secret_directories), None)


def load_again(running: Loaded) -> tuple[Loaded, tuple[str, ...]]:
    """New settings from the same sources, for a running node; and the keys whose new values wait for a restart.

    Keys that need a restart keep their running values; the combination is validated. Raises ConfigError as `load`.
    """
    before = running.source
    made = _loaded(SettingsSource.of(before.path, before.environ, before.directories), running.settings)
    return made, waiting(running.settings, made.given)


def _loaded(source: SettingsSource, running: Settings | None) -> Loaded:
    read = source.read()
    tree, problems = read.tree, read.problems
    settings = None
    if not read.unread:
        settings, wrong = _validated(tree)
        problems += wrong
        problems += check(tree, settings)
    if problems or settings is None:
        raise ConfigError(lines(problems))
    given = settings
    if running is not None:
        settings = held_over(running, given)
        problems = list(check(tree, settings))
    if problems:
        raise ConfigError([f"{line} (until the node is restarted)" for line in lines(problems)])
    files = _files(settings, tree)
    certificates, of_nodes = [marks_of(files.get(group, ())) for group in (CERTIFICATES, OF_NODES)]
    notes = (*read.notes, *notes_on(settings, tree))
    secrets, sources = _secrets(settings, tree), sources_of(tree)
    return Loaded(settings, secrets, notes, source, files, certificates, of_nodes, given, sources)


def _validated(tree: Tree) -> tuple[Settings | None, list[Problem]]:
    try:
        return Settings.model_validate(tree.values), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, problems_of(details, tree)


def lines(problems: list[Problem]) -> list[str]:
    """Problems as lines in the order of their positions, each once."""
    ordered = sorted(problems, key=lambda problem: (problem.place, [str(key) for key in problem.path]))
    return list(dict.fromkeys(str(problem) for problem in ordered))


def _secrets(settings: Settings, tree: Tree) -> dict[KeyPath, str]:
    """The position of each secret, by its key."""
    return {path: str(tree.place(path)) for path in _secret_keys(settings)}


def _files(settings: Settings, tree: Tree) -> dict[KeyPath, tuple[Path, ...]]:
    """Files with secrets and certificates by their owners; the files of one owner are replaced together."""
    found: dict[KeyPath, list[Path]] = {}
    for path in _secret_keys(settings):
        place = tree.place(path)
        is_read_again = path[0] not in ("alarms", "purge", "tracing")  # else with a reload
        if place.layer is Layer.FILE and is_read_again:
            found.setdefault(path[:2] if path[0] == "origins" else path[:1], []).append(Path(place.name))
    if settings.tls is not None:
        certificate = None if settings.access is None else settings.access.client_certificate
        found[CERTIFICATES] = [settings.tls.certificate_file, settings.tls.key_file]
        found[CERTIFICATES] += [] if certificate is None else [certificate.ca_file]
    if settings.cluster is not None and (tls := settings.cluster.tls) is not None:
        found[OF_NODES] = [tls.certificate_file, tls.key_file, tls.ca_file]
    return {group: tuple(dict.fromkeys(files)) for group, files in found.items()}


def _secret_keys(settings: Settings) -> list[KeyPath]:
    """The keys of secrets: those of origins in order, of tokens, of access with each key of signed URLs, of PURGE,
    of webhooks, of CDNs, of the cluster, and of fields for a collector.
    """
    paths: list[KeyPath] = [
        ("origins", name, key)
        for name, origin in settings.origins.items()
        for key in SECRETS
        if getattr(origin, key) is not None
    ]
    paths += [("admin", "tokens", name, "secret") for name in settings.admin.tokens]
    access = settings.access
    if access is not None and access.header is not None:
        paths.append(("access", "header", "secrets"))
    if access is not None and access.signed_urls is not None:
        paths += [("access", "signed_urls", "keys", name) for name in access.signed_urls.keys]
    if settings.purge_method is not None and settings.purge_method.secrets:
        paths.append(("purge_method", "secrets"))
    for name, webhook in settings.alarms.webhooks.items():
        paths += [(*alarms.WEBHOOKS, name, key) for key in alarms.SECRETS if getattr(webhook, key) is not None]
    for name, edge in settings.purge.edges.items():
        paths += [(*purging.EDGES, name, key) for key in purging.SECRETS if getattr(edge, key) is not None]
    if settings.cluster is not None:
        paths += [path for path in cluster.SECRETS if getattr(settings.cluster, path[-1]) is not None]
    paths += [(*HEADERS, name) for name in (() if settings.tracing is None else settings.tracing.headers)]
    return paths
