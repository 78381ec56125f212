"""One arm for every policy, with all that it must be told; what that is the policy says itself (`example`)."""

from raysample.core.config import ArmConfig
from raysample.selection.policies import POLICIES
from raysample.testing.policy_contract import HIGHER_IS, TableColumns, columns, rows

__all__ = ["ARMS", "HIGHER_IS", "VARIANTS", "TableColumns", "columns", "rows"]

ARMS = {name: ArmConfig(policy=name, **policy.example) for name, policy in POLICIES.items()}

VARIANTS = {
    arm.name: arm
    for arm in (
        *ARMS.values(),
        *(
            ArmConfig(policy=name, **{**POLICIES[name].example, "quota": quota})
            for name in ("window", "middle", "linear", "softmax", "mix", "consensus")
            for quota in ("proportional", "balanced")
        ),
        *(
            ArmConfig(policy=name, score="aum", normalise="class")
            for name in ("window", "middle", "linear", "softmax", "explore")
        ),
        ArmConfig(policy="softmax", score="vog", normalise="class", keeps="easier"),
        ArmConfig(policy="linear", score="vog", normalise="class", keeps="easier", weights="unbiased"),
        ArmConfig(policy="hard", score="vog", min_per_class=30),
        ArmConfig(policy="easy", score="vog", min_per_class=5, max_per_class=300),
        ArmConfig(policy="hard", score="vog", quota="proportional", min_per_class=60, max_per_class=200),
        ArmConfig(policy="random", min_per_class=60),
        ArmConfig(policy="softmax", score="vog", temperature=3, min_per_class=40, max_per_class=260),
        ArmConfig(policy="linear", score="aum", min_per_class=40),
        ArmConfig(policy="consensus", scores=["vog", "aum"], min_per_class=40),
        ArmConfig(policy="middle", score="vog", min_per_class=40),
        ArmConfig(policy="coverage", score="vog", min_per_class=20),
        ArmConfig(policy="hard", score="vog", drop_suspects={"score": "aum", "share": 0.1}),
        ArmConfig(policy="explore", score="vog", min_per_class=10, drop_suspects={"score": "aum", "share": 0.1}),
        ArmConfig(policy="mix", scores=["vog", "dual"], keeps="easier", max_per_class=250),
        ArmConfig(policy="mix", scores={"vog": 2, "aum": 1}, group_entropy=1.5),
        ArmConfig(policy="mix", scores=["aum"], keeps="easier", group_entropy=1, cap_per_group=20),
        ArmConfig(policy="hard", score="aum", cap_per_group=9, drop_suspects={"score": "dual", "share": 0.02}),
        ArmConfig(policy="hard", score="vog", normalise="class", cap_per_group=70),
        ArmConfig(policy="random", cap_per_group=12, max_per_class=600),
        ArmConfig(policy="linear", score="aum", quota="proportional", cap_per_group=8),
        ArmConfig(policy="easy", score="aum", min_share_per_group=0.25, min_per_class=20),
        ArmConfig(policy="explore", score="vog", share=0.3, min_share_per_group=0.1, cap_per_group=30),
        ArmConfig(policy="explore", score="vog", share=0.3, quota="proportional"),
        ArmConfig(policy="explore", score="aum", quota="balanced", weights="none"),
        ArmConfig(policy="explore", score="aum", power=0.5, drop_suspects={"score": "dual", "share": 0.1}),
        ArmConfig(policy="class_power", power=0.5, weights="unbiased"),
        ArmConfig(policy="class_power", quota="balanced", drop_suspects={"score": "aum", "share": 0.1}),
        ArmConfig(policy="class_power", power=0.3, cap_per_group=15),
        ArmConfig(policy="thinned", score="confidence", threshold=0.6, power=0.5),
        ArmConfig(policy="thinned", score="dual", threshold=0.1, quota="balanced", cap_per_group=12),
        ArmConfig(policy="tilted", score="aum", strength=2, keeps="easier", power=0.5),
        ArmConfig(policy="tilted", score="vog", by="score", quota="balanced", weights="unbiased"),
        ArmConfig(policy="tilted", score="aum", within="corpus", strength=0.5),
        ArmConfig(policy="tilted", score="vog", within="corpus", by="score", min_per_class=30),
        ArmConfig(policy="tilted", score="aum", drop_suspects={"score": "aum", "share": 0.1, "within": "class"}),
        ArmConfig(policy="tilted", score="vog", strength=0),
        ArmConfig(policy="hedge", score="aum", share=0.25, keeps="easier", power=0.5),
        ArmConfig(policy="hedge", score="vog", share=0.75, weights="unbiased"),
        ArmConfig(policy="hedge", score="vog", share=1, quota="balanced", cap_per_group=25),
        ArmConfig(policy="hedge", score="vog", share=0, drop_suspects={"score": "aum", "share": 0.1}),
    )
}
