"""The list of what is measured. A family adds itself here, and its cases and contenders in its own file."""

import importlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One model, objective and batch, trained by several contenders.

    Attributes:
        name: key in the results.
        title: what the table calls it.
        contenders: name to "module:class" of a `Contender`; the first, `keras_gen`, is ours and the reference.
        settings: what the family's contenders need to build it.
        steps: steps an epoch, the unit of a timed repeat.
        quick_steps: the same in quick mode and, at most 50, for the curves; None for `steps`.
        quick: whether quick mode, which has five minutes, measures it (where it is not asked for by name).
        target: validation bound, nats, that ends the race for "time to a bound", of full mode alone.
        limits: ("what", contender or contenders of which the faster counts, must, aim): ratios of our step to theirs.
        scaling: setting to values, for the curves of step time.
        first_limits: seconds of our first step, compilation included: (must, aim).
        precision_epochs: epochs of 100 steps after which bounds under float32 and bfloat16 are compared; 0 for no comparison.
    """

    name: str
    title: str
    contenders: dict
    settings: dict
    steps: int = 300
    quick_steps: int | None = None
    quick: bool = True
    target: float | None = None
    limits: tuple = ()
    scaling: dict = field(default_factory=dict)
    first_limits: tuple = (10.0, 4.0)
    precision_epochs: int = 0

    def epoch_steps(self, full):
        """The steps of an epoch in a mode."""
        return self.steps if full or self.quick_steps is None else self.quick_steps

    def measured(self, full):
        """The names of the contenders that a mode measures: all, or in quick mode ours and those that a limit needs."""
        needed = {"keras_gen", *(name for _, names, must, _ in self.limits if must is not None for name in names)}
        return [name for name in self.contenders if full or name in needed]


FAMILIES = ("benchmarks.vae", "benchmarks.belief_network", "benchmarks.adversarial", "benchmarks.sequential")


def cases():
    """name to `Case`, all families."""
    return {case.name: case for family in FAMILIES for case in importlib.import_module(family).CASES}
