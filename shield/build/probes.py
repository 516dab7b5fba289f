"""The plan of regular probes."""

from __future__ import annotations

from shield.config.settings import Settings
from shield.origin.prober import ProbePlan, Target
from shield.rules.routes import Routes
from shield.rules.written import target_of


def probe_plan(settings: Settings, routes: Routes) -> ProbePlan:
    """Canaries by origin, as their routes map them. Raises RequestError for one that names nothing."""
    canaries: dict[str, list[Target]] = {name: [] for name in settings.origins}
    targets = [target_of(text) for text in settings.probes.canaries]
    for target in targets:
        resource = routes.resolve(target)
        for name in resource.route.origins:
            canaries[name].append((resource.path, resource.query))
    kin = {
        name: [
            other
            for other in settings.origins
            if other != name and any(name in route.origins and other in route.origins for route in routes)
        ]
        for name in settings.origins
    }
    return ProbePlan(settings.probes.interval, canaries, kin, targets)
