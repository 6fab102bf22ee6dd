"""What pytorch-holo says of Ehrlich functions, for a test that does without it and its NumPy 1.

In an environment of its own (`pip install pytorch-holo==0.0.5 "numpy<2" torch`):

PYTHONPATH=. python tests/helpers/holo_reference.py    writes holo_reference.json
"""

import json
from pathlib import Path

TABLE = Path(__file__).with_suffix(".json")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"  # a token each
# num_states, dim, num_motifs, motif_length, quantization, epistasis_factor, random_seed
SETTINGS = (
    (4, 8, 2, 2, 2, 0.0, 0),
    (8, 32, 4, 4, 4, 0.0, 0),
    (8, 32, 4, 4, 2, 0.0, 1),
    (6, 14, 2, 4, 3, 0.0, 5),
    (12, 30, 3, 3, 3, 0.0, 2),
    (10, 40, 2, 6, 3, 0.5, 3),
    (9, 20, 2, 5, 5, 1.0, 4),
    (20, 32, 2, 4, 4, 0.0, 0),
    (32, 32, 4, 4, 4, 0.0, 0),
)


def variants(function, generator):
    """Sequences that satisfy all of the motifs, some, and none; feasible ones and others."""
    import torch

    best, v, length = function.optimal_solution(), function.num_states, function.dim
    random = lambda high, *shape: torch.randint(high, shape, generator=generator)
    found = [best, *function.initial_solution(8), *random(v, 3, length)]
    for places in range(1, 9):
        changed, repeated = best.clone(), best.clone()
        changed[random(length, places)] = random(v, places)
        for at in random(length - 1, places).sort().values.tolist():
            repeated[at + 1] = repeated[at]  # which is always allowed
        found += [changed, repeated]
    for shift in range(1, 5):  # past either end
        found.append(torch.cat([best[:1].repeat(shift), best[:-shift]]))
        found.append(torch.cat([best[shift:], best[-1:].repeat(shift)]))
    return torch.stack(found)


def computed():
    """By settings: the instance, and pairs (sequence, value), None for what is infeasible."""
    import torch
    from holo.test_functions.closed_form import Ehrlich

    from experiments.ehrlich.holo_evolution import described

    table = []
    for settings in SETTINGS:
        v, dim, motifs, size, quantization, epistasis, seed = settings
        function = Ehrlich(
            v, dim, motifs, size, quantization, epistasis_factor=epistasis, random_seed=seed
        )
        sequences = variants(function, torch.Generator().manual_seed(seed))
        spelt = ["".join(DIGITS[token] for token in row) for row in sequences.tolist()]
        values = [x if x >= 0 else None for x in function(sequences, noise=False).tolist()]
        table.append(
            {
                "settings": settings,
                **described(function),
                "values": dict(zip(spelt, values, strict=True)),
            }
        )
    return table


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(row) for row in computed())
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
