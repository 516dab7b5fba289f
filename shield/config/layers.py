"""Values from the environment and from secret files, which override those of the YAML file.

`SHIELD_ORIGINS__FRA__ENDPOINT` is `origins.fra.endpoint`; as a secret file it is `shield_origins__fra__endpoint`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from shield.config import CONFIG_VARIABLE, access, alarms, cluster, purging
from shield.config.admin import is_token_file, token_secrets
from shield.config.origin import FILES, SECRETS, TLS_FILES
from shield.config.places import (
    GivenValue,
    KeyPath,
    Layer,
    Position,
    Problem,
    Tree,
    did_you_mean,
    shortened,
)
from shield.config.price import PRICE_LIST, PRICE_LIST_FILE
from shield.config.shape import all_keys, is_list, is_mapping, is_secret, resolve
from shield.config.yaml_text import YamlText
from shield.rules.tokens import TOKEN_VARIABLE

_VARIABLE = "SHIELD_"
_SECRET_FILE = "shield_"
_MAX_SECRET_BYTES = 64 * 1024
# Variables that Kubernetes sets in all containers for a Service whose name begins with "shield".
_of_a_service = re.compile(r"SHIELD_(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT|PORT)(?:_.*)?").fullmatch


def read_file(path: Path, raw: bytes | OSError, tree: Tree) -> list[Problem]:
    """Put the values of a YAML file, or the reason why it can't be read, into the tree."""
    root = Position(Layer.YAML, str(path))
    if isinstance(raw, OSError):
        return [Problem(root, (), f"can't be read: {raw.strerror}")]
    try:
        text = raw.decode("utf-8-sig")
    except ValueError:
        return [Problem(root, (), "expected text in UTF-8")]
    yaml = YamlText(Layer.YAML, str(path))
    for given in yaml.read(text):
        tree.put(_absolute(given, path.parent))
    return _discreet(yaml.problems)


def read_environment(environ: Mapping[str, str], tree: Tree) -> tuple[list[Problem], list[str]]:
    """Put the values of `SHIELD_` variables into the tree; problems and notes.

    Other programs may have variables with this prefix: one that is neither a whole section nor has the two
    underscores of a key within one isn't ours, and is noted if it seems meant to be.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    for name in sorted(environ, key=lambda name: (name.count("__"), name)):  # whole sections before their keys
        if not name.upper().startswith(_VARIABLE) or name in (TOKEN_VARIABLE, CONFIG_VARIABLE):
            continue
        place = Position(Layer.ENVIRONMENT, name)
        words = name[len(_VARIABLE) :].lower().split("__")
        path = resolve(words) if name.isupper() else None
        if path is not None:
            problems += _put_text(environ[name], path, place, tree)
            continue
        known = [key.replace("-", "_") for key in _keys(tree)]
        guess = did_you_mean("__".join(words), known, spelled=lambda key: _VARIABLE + key.upper())
        if len(words) > 1:
            problems.append(Problem(place, (), f"no setting has this name{guess}"))
        elif guess and not _of_a_service(name):
            notes.append(f"{place}: has no effect: no setting has this name{guess}")
    return problems, notes


def read_secret_directory(directory: Path, tree: Tree, *, own: bool) -> tuple[list[Problem], list[str]]:
    """Put the values of `shield_` files into the tree; returns problems and notes.

    In a directory of our `own`, as systemd makes it, every file must be a known setting; a shared one may hold
    files of other programs.
    """
    try:
        entries = sorted(directory.iterdir())
    except FileNotFoundError:
        return ([_unlisted(directory, "no such directory")], []) if own else ([], [])
    except OSError as error:
        why = str(error.strerror)
        return ([_unlisted(directory, why)], []) if own else ([], [f"{directory}: can't be read: {why}"])
    problems: list[Problem] = []
    named = _named_files(tree)
    for entry in entries:
        if entry.name.startswith(".") or os.path.realpath(entry) in named:
            continue
        place = Position(Layer.FILE, str(entry))
        path = resolve(entry.name.removeprefix(_SECRET_FILE).split("__"))
        if not entry.name.startswith(_SECRET_FILE):
            if own:
                problems.append(Problem(place, (), f"isn't read: expected {_SECRET_FILE}origins__NAME__secret_key"))
        elif path is None or entry.name != entry.name.lower():
            word = entry.name.lower().removeprefix(_SECRET_FILE)
            guess = did_you_mean(word, _keys(tree), spelled=_SECRET_FILE.__add__)
            problems.append(Problem(place, (), f"isn't read: no setting has this name{guess}"))
        else:
            text, why = _content(entry)
            problems += [Problem(place, path, why)] if text is None else _put_text(text, path, place, tree)
    return problems, []


def read_named_files(tree: Tree) -> list[Problem]:
    """Put the contents of files named by `*_file` keys in their place. The names are never quoted: secrets get pasted
    there by mistake.
    """
    problems: list[Problem] = []
    of_origins = [("origins", name, key) for name, _ in tree.items("origins") for key in SECRETS]
    of_webhooks = alarms.secrets([name for name, _ in tree.items(*alarms.WEBHOOKS)])
    of_edges = purging.secrets([name for name, _ in tree.items(*purging.EDGES)])
    for path in (
        PRICE_LIST,
        *of_origins,
        *access.SECRETS,
        *cluster.SECRETS,
        *token_secrets(tree),
        *of_webhooks,
        *of_edges,
    ):
        *above, key = path
        file_path = (*above, f"{key}_file")
        named = tree.get(file_path)
        if not isinstance(named, str) or not named:
            continue
        layer = tree.place(file_path).layer
        if tree.get(path) is not None:
            other = tree.place(path).layer
            if other == layer:
                problems.append(tree.problem(file_path, f"{key} is given too; expected one of the two"))
            if other >= layer:
                continue
        text, why = _content(Path(named))
        if text is None:
            problems.append(tree.problem(file_path, f"the file {why}"))
            tree.drop(path)
        else:
            tree.drop(path)
            problems += _put_text(text, path, Position(Layer.FILE, named), tree)
    return problems


def _put_text(text: str, path: KeyPath, place: Position, tree: Tree) -> list[Problem]:
    """Lists and mappings are written in YAML or JSON, everything else is plain text."""
    if is_mapping(path) or (is_list(path) and text.lstrip().startswith("[")):
        yaml = YamlText(place.layer, place.name, lines=False)
        found = list(yaml.read(text, path))
        if yaml.problems and is_list(path):
            found, yaml.problems = [GivenValue(path, text, place)], []  # as [::1]:8080, which is no list
        for given in found:
            tree.put(_absolute(given, Path.cwd()))
        return _discreet(yaml.problems)
    tree.put(_absolute(GivenValue(path, text, place), Path.cwd()))
    return []


def _absolute(given: GivenValue, base: Path) -> GivenValue:
    """File names are relative to the directory of the file that names them."""
    at, value = given.path, given.value
    names_file = (len(at) == 3 and at[0] == "origins" and at[2] in FILES) or at in (
        PRICE_LIST_FILE,
        *TLS_FILES,
        *access.FILES,
        *cluster.FILES,
    )
    names_file |= len(at) == 4 and at[:2] == alarms.WEBHOOKS and at[3] in alarms.FILES
    names_file |= len(at) == 4 and at[:2] == purging.EDGES and at[3] in purging.FILES
    names_file |= is_token_file(at)
    if names_file and isinstance(value, str) and value:
        return GivenValue(at, str(base / value), given.place)
    return given


def _content(path: Path) -> tuple[str | None, str]:
    """A secret file's text without the line end that editors add; or None and the reason."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_SECRET_BYTES + 1)
        text = raw.decode().rstrip("\r\n")
    except OSError as error:
        return None, f"can't be read: {error.strerror}"
    except ValueError:
        return None, "can't be read: expected text in UTF-8"
    if len(raw) > _MAX_SECRET_BYTES:
        return None, "is too large for a secret: expected at most 64KiB"
    return (text, "") if text else (None, "is empty")


def _named_files(tree: Tree) -> set[str]:
    """The files named by keys."""
    paths: list[KeyPath] = [*access.FILES, *cluster.FILES]
    paths += [("origins", name, key) for name, _ in tree.items("origins") for key in FILES]
    paths += [(*alarms.WEBHOOKS, name, key) for name, _ in tree.items(*alarms.WEBHOOKS) for key in alarms.FILES]
    paths += [(*purging.EDGES, name, key) for name, _ in tree.items(*purging.EDGES) for key in purging.FILES]
    paths += [(*path[:-1], "secret_file") for path in token_secrets(tree)]
    named = map(tree.get, paths)
    return {os.path.realpath(value) for value in named if isinstance(value, str) and "\0" not in value}


def _discreet(problems: list[Problem]) -> list[Problem]:
    """Without the keys below a secret: a mapping in its place may contain it."""
    return [
        Problem(problem.place, next((at for at in paths if is_secret(at)), problem.path), problem.text)
        for problem in problems
        for paths in [[problem.path[:end] for end in range(1, len(problem.path))]]
    ]


def _keys(tree: Tree) -> Iterable[str]:
    names: Mapping[str, Sequence[str]] = {
        key: [name for name, _ in tree.items(key)] or ["name"] for key in ("origins", "routes")
    }
    return all_keys(names)


def _unlisted(directory: Path, why: str) -> Problem:
    return Problem(Position(Layer.FILE, shortened(str(directory))), (), f"credentials directory can't be read: {why}")
