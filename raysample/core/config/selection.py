"""The sections that choose rows: arms with their limits, budgets, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raysample.core.config.section import Count, Fraction, Section, Seed


class SuspectsConfig(Section):
    """Rows to remove first: the share with the hardest values of a score that finds wrong labels.

    `within`: the hardest rows of all (`corpus`), or the same share of every class (`class`).
    """

    score: str = "aum"
    share: Fraction = 0.05
    within: Literal["corpus", "class"] = "corpus"


LIMITS = ("min_per_class", "max_per_class", "min_share_per_group", "cap_per_group")
"""Fields of an ArmConfig that any policy can be given."""


class ArmConfig(Section):
    """One way to choose a sample.

    `policy`: one of `raysample.selection.policies.POLICIES`; `auto` without evidence is `stratified_random`.
    `normalise`: compare raw scores (`none`) or z-scores within each class (`class`); `corpus` uses z-scores over the
    data set, which rank exactly as the raw score. `quota`: one budget for all rows (`corpus`), the same share of every
    class (`proportional`), or the same count of every class as far as it has rows (`balanced`).
    `min_per_class` rows of a class are kept (all if it has fewer), at most `max_per_class`; at least the share
    `min_share_per_group` of every group, at most `cap_per_group` rows. `drop_suspects` removes likely label errors
    first. `weights`: `unbiased` weights kept rows by the inverse of their inclusion probability, `none` equally; the
    policy decides by default. `copies`: the weight of a kept content of a log is multiplied by its number of copies,
    `all` or up to a limit. `redraw` retrains on a new sample in every epoch, drawn with the same settings. Options of
    the policy are given beside these keys and stored in `options`.
    """

    policy: str = "auto"
    score: str | None = None
    normalise: Literal["none", "class", "corpus"] = "none"
    quota: Literal["corpus", "proportional", "balanced"] = "corpus"
    options: dict[str, Any] = Field(default_factory=dict)
    min_per_class: Count | None = None
    max_per_class: Count | None = None
    min_share_per_group: Fraction | None = None
    cap_per_group: Count | None = None
    drop_suspects: SuspectsConfig | None = None
    weights: Literal["none", "unbiased"] | None = None
    copies: Literal["all"] | Count | None = None
    redraw: bool = False

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """Move unknown keys into `options`; the policy refuses options that it does not have."""
        if not isinstance(data, dict):
            return data
        own = {name: value for name, value in data.items() if name in cls.model_fields and name != "options"}
        more = {name: value for name, value in data.items() if name not in cls.model_fields}
        return {**own, "options": {**(data.get("options") or {}), **more}}

    @property
    def name(self) -> str:
        """The arm's name in tables, figures and MLflow: `hard(vog|class)`, `window(vog, start=0.1)`, `random`."""
        parts = [self.score or "", *([self.normalise] if self.normalise != "none" else [])]
        settings = [f"{name}={_short(value)}" for name, value in self.options.items()]
        if self.drop_suspects is not None:
            place = " of each class" if self.drop_suspects.within == "class" else ""
            settings.append(f"without {self.drop_suspects.share:g}{place} by {self.drop_suspects.score}")
        for name in (*LIMITS, "weights", "copies"):
            value = getattr(self, name)
            settings += [f"{name}={value}"] if value is not None else []
        settings += ["redraw"] if self.redraw else []
        inner = [part for part in ("|".join(parts), self.quota if self.quota != "corpus" else "", *settings) if part]
        return f"{self.policy}({', '.join(inner)})" if inner else self.policy

    @property
    def fixed(self) -> ArmConfig:
        """The same arm without `redraw`: how each of its samples is drawn."""
        return self.model_copy(update={"redraw": False})


def _short(value: Any) -> str:
    """Return an option value in a short form for the name of an arm."""
    if isinstance(value, dict):
        return "+".join(f"{weight:g}*{name}" if weight != 1 else str(name) for name, weight in value.items())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


class TokensConfig(Section):
    """A budget in tokens: the kept rows have at most this many tokens together."""

    tokens: Count


class SampleConfig(Section):
    """The budget of `raysample sample`: a share of the rows, a number of rows, tokens, or `auto`.

    `auto` is the smallest share whose expected loss of accuracy on the validation rows is within `tolerance`, by the
    finished comparison; it needs `corpus.validation`. By default the fractions of `compare` are sampled.
    """

    budget: Literal["auto"] | Annotated[int, Field(ge=2, lt=2**31)] | Fraction | TokensConfig | None = None
    tolerance: Fraction = 0.01


Regime = Literal["equal_epochs", "equal_steps"]
"""How long a sample is trained: as many epochs as all data (fewer steps), or as many steps (more epochs)."""
EQUAL_STEPS_BELOW = 0.5
"""Fraction below which `auto` retrains at equal steps as well: equal epochs are less than half of the steps there."""


class CompareConfig(Section):
    """Arms x fractions x seeds, each retrained and evaluated; random and stratified random are always included.

    `regime`: `auto` retrains every fraction at equal epochs, and those below `EQUAL_STEPS_BELOW` at equal steps, too.
    """

    arms: list[ArmConfig] = Field(default_factory=list)
    fractions: list[Fraction] = Field(default_factory=lambda: [0.5], min_length=1)
    seeds: list[Seed] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    regime: Literal["auto", "equal_epochs", "equal_steps"] = "auto"
    # The metric of the verdict; the other two are reported as well.
    objective: Literal["accuracy", "macro_f1", "worst_group"] = "accuracy"
    # Largest difference that counts as none; 0.005 is half a percentage point.
    tolerance: Fraction = 0.005
    confidence: Fraction = 0.95
    # With two or more `score.runs`, the selections of each seed use the scores of the other runs.
    own_scores: bool = True
    workers: Count | None = None

    @model_validator(mode="after")
    def _baselines(self) -> CompareConfig:
        """Add the baseline arms; refuse duplicate arms, seeds and fractions."""
        names = [arm.name for arm in self.arms]
        baselines = [ArmConfig(policy=name) for name in ("random", "stratified_random") if name not in names]
        if len(set(names)) < len(names):
            raise ValueError(f"the arms {sorted({n for n in names if names.count(n) > 1})} are listed twice")
        if len(set(self.seeds)) < len(self.seeds) or len(set(self.fractions)) < len(self.fractions):
            raise ValueError("seeds and fractions must not repeat")
        object.__setattr__(self, "arms", baselines + self.arms)
        return self

    @property
    def first_regime(self) -> Regime:
        """The regime of the headline, in which every fraction is retrained."""
        return "equal_epochs" if self.regime == "auto" else self.regime

    def regimes(self, fraction: float) -> Sequence[Regime]:
        """Return the regimes in which arms are retrained at a fraction, that of the headline first."""
        beside = self.regime == "auto" and fraction < EQUAL_STEPS_BELOW
        return [self.first_regime, "equal_steps"] if beside else [self.first_regime]
