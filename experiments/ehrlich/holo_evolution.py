"""What holo-bench's own genetic algorithm reaches on one of its Ehrlich functions.

In an environment of its own (`pip install pytorch-holo==0.0.5 "numpy<2" torch`):

    python experiments/ehrlich/holo_evolution.py    # a minute; writes evolution.json

Its settings are searched on other seeds than those that are reported.
"""

import itertools
import json
import sys
import time
from pathlib import Path

import torch
from holo.optim import DiscreteEvolution
from holo.test_functions.closed_form import Ehrlich

OUTPUT = Path(__file__).parents[1] / "results" / "ehrlich" / "climb" / "evolution.json"
SIZE, SEED = (32, 32, 4, 4), 0  # v, L, c, k; the quantisation is k
ROUNDS = 40
MUTATION, SURVIVAL = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01), (0.5, 0.25, 0.1, 0.05)
PARTICLES = (128, 256)  # the second with half of the rounds
SEARCHED, REPORTED = range(1000, 1010), range(20)


def run(function, seed, particles, mutation, survival):
    """The best value after each round, all of which have as many evaluations."""
    torch.manual_seed(seed)
    start = torch.nn.Parameter(function.initial_solution().float(), requires_grad=False)
    optimiser = DiscreteEvolution(
        [start], vocab=list(range(function.num_states)), mutation_prob=mutation,
        num_particles=particles, survival_quantile=survival,
    )  # fmt: skip
    found: list[float] = []

    def loss(populations):
        tokens = populations[0].long().reshape(-1, function.dim)
        values = function(tokens, noise=False)  # of what is not feasible minus infinity
        found.append(max([*found[-1:], 0.0, float(values.max())]))
        return -values

    for _ in range(ROUNDS * PARTICLES[0] // particles):
        optimiser.step(loss)
    return found


def described(function):
    """The arrays of an instance, as lists."""
    # Floats of 32 bits, in as few digits as tell them apart.
    short = lambda rows: [[float(str(x)) for x in row] for row in rows.numpy()]
    return {
        "initial": short(function.stationary_dist.T)[0],
        "transitions": short(function.transition_matrix),
        "motifs": [motif.tolist() for motif in function.motifs],
        "spacings": [spacing.tolist() for spacing in function.spacings],
    }


def main():
    started = time.perf_counter()
    function = Ehrlich(*SIZE, SIZE[-1], random_seed=SEED)
    trials = []
    for particles, mutation, survival in itertools.product(PARTICLES, MUTATION, SURVIVAL):
        settings = {"particles": particles, "mutation": mutation, "survival": survival}
        finals = [run(function, seed, *settings.values())[-1] for seed in SEARCHED]
        trials.append(settings | {"mean": sum(finals) / len(finals), "finals": finals})
    best = max(trials, key=lambda trial: trial["mean"])
    chosen = {name: best[name] for name in ("particles", "mutation", "survival")}
    runs = [
        {"seed": seed, "evaluations": [chosen["particles"] * (i + 1) for i in range(len(found))],
         "best": found}
        for seed in REPORTED
        for found in [run(function, seed, *chosen.values())]
    ]  # fmt: skip
    about = {
        "command": f"python {Path(sys.argv[0]).name}", "torch": torch.__version__,
        "seconds": round(time.perf_counter() - started), "function_seed": SEED,
    }  # fmt: skip
    size = {"length": function.dim, "quantisation": SIZE[-1], "epistasis": 0.0}
    told = about | {"function": described(function) | size, "chosen": chosen}
    OUTPUT.write_text(json.dumps(told | {"trials": trials, "runs": runs}) + "\n", encoding="utf-8")
    print(chosen, sorted(run["best"][-1] for run in runs))


if __name__ == "__main__":
    main()
