"""shield trial: could this version, with these settings, take over a running node? The node asks this."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from shield import __version__
from shield.config.admin import UnixAddress
from shield.config.loading import load
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.lifecycle.listening import addresses_of, bind, bind_unix, unlink
from shield.lifecycle.terms import UpgradeTerms, objections, terms_of, unpacked
from shield.worker import Plan


def trial(path: Path) -> int:
    """UpgradeTerms in, one line of JSON out: the version, and the problems; none: it can."""
    try:
        problems = _problems(path, unpacked(sys.stdin.buffer.read()))
    except ConfigError as error:
        problems = list(error.problems)
    except ValueError as error:
        problems = [str(error)]
    print(json.dumps({"version": __version__, "problems": problems}))
    return 0


def _problems(path: Path, running: UpgradeTerms) -> list[str]:
    settings = load(path, environ=os.environ).settings
    problems = objections(running, terms_of(settings))
    if not problems:
        Plan.of(settings)
        _try_to_bind(settings, running)
    return problems


def _try_to_bind(settings: Settings, running: UpgradeTerms) -> None:
    """Raises ConfigError for addresses that the node doesn't have, and can't."""
    for key, address in addresses_of(settings):
        if str(address) in running.listens:
            continue
        if isinstance(address, UnixAddress):
            bind_unix(address.path, settings.admin.socket_mode, key=key).close()
            unlink(address.path)
            continue
        for made in bind(address, key=key):
            made.close()
