"""A run's configuration: pydantic models <-> YAML, dotted overrides, unknown keys refused.

One YAML file describes one run. `load` reads the file, applies `key=value` overrides (`fine_tune.epochs=2`) and
explains what is wrong before anything expensive starts.

>>> from raysample import config
>>> config.parse({"fine_tune": {"epochs": 5}}, ["fine_tune.batch_size=64"]).fine_tune.batch_size
64
"""

from raysample.core.config.corpus import Columns, FeedbackConfig, LabelsConfig, SourceConfig
from raysample.core.config.importing import AdoptConfig
from raysample.core.config.limits import LimitsConfig
from raysample.core.config.loading import load, parse
from raysample.core.config.run import (
    CorpusConfig,
    EconomyConfig,
    EngineConfig,
    LandmarksConfig,
    LogConfig,
    ReportConfig,
    RunConfig,
    ScoreConfig,
    SimulatedConfig,
    TrackingConfig,
)
from raysample.core.config.section import Fraction, Section
from raysample.core.config.selection import LIMITS, ArmConfig, CompareConfig, SampleConfig, SuspectsConfig, TokensConfig
from raysample.core.config.training import (
    DynamicConfig,
    EarlyStoppingConfig,
    FineTuneConfig,
    InfoBatchConfig,
    ModelConfig,
    ResumeConfig,
)

__all__ = [
    "LIMITS",
    "AdoptConfig",
    "ArmConfig",
    "Columns",
    "CompareConfig",
    "CorpusConfig",
    "DynamicConfig",
    "EarlyStoppingConfig",
    "EconomyConfig",
    "EngineConfig",
    "FeedbackConfig",
    "FineTuneConfig",
    "Fraction",
    "InfoBatchConfig",
    "LabelsConfig",
    "LandmarksConfig",
    "LimitsConfig",
    "LogConfig",
    "ModelConfig",
    "ReportConfig",
    "ResumeConfig",
    "RunConfig",
    "SampleConfig",
    "ScoreConfig",
    "Section",
    "SimulatedConfig",
    "SourceConfig",
    "SuspectsConfig",
    "TokensConfig",
    "TrackingConfig",
    "load",
    "parse",
]
