"""Secrets read again from files that may have been replaced, while all other settings stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from shield.config.access import AccessSettings
from shield.config.admin import AdminSettings
from shield.config.cluster import ClusterSettings
from shield.config.loading import SettingsSource, lines
from shield.config.origin import SECRETS
from shield.config.places import KeyPath, Tree
from shield.config.purging import PurgeMethodSettings
from shield.config.section import Section
from shield.config.wording import problems_of
from shield.errors import ConfigError

S = TypeVar("S", bound=Section)


class Anew:
    """The present contents of secret files. Reads them, and so blocks, when it is made."""

    def __init__(self, source: SettingsSource) -> None:
        read = source.read()
        self._tree: Tree = read.tree
        self._problems = read.problems

    def of_origin(self, name: str) -> Mapping[str, str]:
        """An origin's secrets by key. Raises ConfigError if one of them can't be read."""
        here: KeyPath = ("origins", name)
        self._check(here)
        found = {key: self._tree.get((*here, key)) for key in SECRETS}
        return {key: value for key, value in found.items() if isinstance(value, str)}

    def of_access(self) -> AccessSettings:
        """The access section. Raises ConfigError if its secrets can't be read, or aren't valid."""
        return self._section(("access",), AccessSettings)

    def of_purge_method(self) -> PurgeMethodSettings:
        """The same of the section on PURGE."""
        return self._section(("purge_method",), PurgeMethodSettings)

    def of_cluster(self) -> ClusterSettings:
        """The cluster section. Raises ConfigError if its secrets can't be read, or aren't valid."""
        return self._section(("cluster",), ClusterSettings)

    def of_admin(self) -> AdminSettings:
        """The admin section. Raises ConfigError if its secrets can't be read, or aren't valid."""
        return self._section(("admin",), AdminSettings)

    def _section(self, here: KeyPath, kind: type[S]) -> S:
        self._check(here)
        try:
            return kind.model_validate(self._tree.get(here))
        except ValidationError as error:
            details = error.errors(include_url=False)
        for detail in details:
            detail["loc"] = (*here, *detail["loc"])
        raise ConfigError(lines(problems_of(details, self._tree)))

    def _check(self, here: KeyPath) -> None:
        problems = [problem for problem in self._problems if problem.path[: len(here)] == here]
        if problems:
            raise ConfigError(lines(problems))
