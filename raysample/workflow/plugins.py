"""Check before the work that the workers have the plug-in classes that the driver found."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from raysample.core.config import ArmConfig, RunConfig
from raysample.core.registry import PluginIdentity, plugin_problems, refuse_plugins
from raysample.execution.base import Executor
from raysample.influence.scores import score_plugins
from raysample.selection.policies import policy_plugin


def check_plugins(plugins: Iterable[PluginIdentity], engine: Executor) -> None:
    """Raise PluginError if a worker lacks one of these classes or has another version, checked by one small task."""
    wanted = tuple(dict.fromkeys(plugins))
    if wanted:
        refuse_plugins(engine.once(partial(plugin_problems, wanted)))


def policy_plugins(arms: Iterable[ArmConfig]) -> tuple[PluginIdentity, ...]:
    """Return the identities of the plug-in policies that arms name, each once."""
    found = (policy_plugin(arm) for arm in arms)
    return tuple(dict.fromkeys(plugin for plugin in found if plugin is not None))


def run_plugins(config: RunConfig) -> tuple[PluginIdentity, ...]:
    """Return the identities of all plug-in scores and policies of a run."""
    dynamic = config.fine_tune.dynamic
    drawn = [] if dynamic is None or dynamic.redraw is None else [dynamic.redraw]
    return (*score_plugins(config.score.scores), *policy_plugins([*config.compare.arms, *drawn]))
