"""A run's configuration: pydantic models <-> YAML, dotted overrides, unknown keys refused.

One YAML file describes one run. `load` reads the file, applies `key=value` overrides (`fine_tune.epochs=2`) and
explains what is wrong before anything expensive starts.
"""

from raysample.config.files import load, parse
from raysample.config.sections import (
    ArmConfig,
    Columns,
    CompareConfig,
    CorpusConfig,
    EconomyConfig,
    EngineConfig,
    FineTuneConfig,
    Fraction,
    LandmarksConfig,
    ModelConfig,
    ReportConfig,
    RunConfig,
    ScoreConfig,
    Section,
    SimulatedConfig,
    SourceConfig,
    SuspectsConfig,
    TrackingConfig,
)

__all__ = [
    "ArmConfig",
    "Columns",
    "CompareConfig",
    "CorpusConfig",
    "EconomyConfig",
    "EngineConfig",
    "FineTuneConfig",
    "Fraction",
    "LandmarksConfig",
    "ModelConfig",
    "ReportConfig",
    "RunConfig",
    "ScoreConfig",
    "Section",
    "SimulatedConfig",
    "SourceConfig",
    "SuspectsConfig",
    "TrackingConfig",
    "load",
    "parse",
]
