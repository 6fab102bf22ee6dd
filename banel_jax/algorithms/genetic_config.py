"""Settings of the genetic algorithm (`genetic.py`)."""

from dataclasses import dataclass

from banel_jax import checks


@dataclass(frozen=True)
class GeneticConfig:
    """Settings of the genetic algorithm.

    Attributes:
      num_candidates: m, reward evaluations a round.
      population: distinct successes among which parents are chosen, the latest ones.
      fresh: probability that a candidate is drawn from the prior, as all are before a success and
        those are of which no child in 8 would be new.
      crossover: probability that a child ends like a second parent, from a position on that is
        chosen evenly; where one of both has ended before it, the child is the first parent.
      mutation_rate: probability that a token is replaced by one that the prior may put there.
      memory: different evaluations, the latest, that no child repeats.
      num_donors: samples of the prior, drawn once, of which those tokens are taken.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    population: int = 100
    fresh: float = 0.1
    crossover: float = 0.5
    mutation_rate: float = 0.05
    memory: int = 2000
    num_donors: int = 1000

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", "population", "memory", "num_donors", at_least=1)
        checks.reals(self, "fresh", "crossover", "mutation_rate", at_least=0, at_most=1)
