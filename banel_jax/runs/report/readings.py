"""What the numbers of a round are called, and a sentence on how each is read."""

from typing import NamedTuple


class Reading(NamedTuple):
    """How a metric is shown.

    Attributes:
      title: of its chart.
      meaning: how it is read.
      names: of the metrics that share the chart, the first being what it stands under.
      log: on a logarithmic axis.
    """

    title: str
    meaning: str
    names: tuple[str, ...]
    log: bool = False


def _of(*names: str, title: str, meaning: str, log: bool = False) -> Reading:
    return Reading(title, meaning, names, log)


READINGS = (
    _of(
        "acceptance", title="Acceptance", log=True,
        meaning="The share of what the generator draws that passes the filters. It falls as more "
        "is ruled out; near the floor (acceptance_floor) a round's candidates are hard to find: "
        "let more pass.",
    ),
    _of(
        "entropy", title="Entropy, nats a sequence",
        meaning="How spread the proposals are. A steady fall towards 0 means that the same few "
        "sequences are asked for again; a slow one is learning.",
    ),
    _of(
        "kl_to_base", title="KL from the prior, nats",
        meaning="How far the proposals have moved from the prior. Near 0 nothing was learned yet; "
        "tens of nats mean that the prior says little about what is proposed now.",
    ),
    _of(
        "duplicate_rate", title="Duplicates",
        meaning="The share of proposals that equal another of the same round. What is paid for a "
        "duplicate tells nothing new; much above that of round 0, the model has collapsed.",
    ),
    _of(
        "failure_gap", title="Failure model: gap, nats",
        meaning="Its loss on failures it has not seen less that on those it was fitted to. Near 0 "
        "it has learned what failures have in common; large and growing, it knows them by heart: "
        "fewer epochs, more dropout or more failures.",
    ),
    _of(
        "failure_validation_loss", "failure_train_loss", title="Failure model: loss, nats",
        meaning="On failures held out, and on those it was fitted to. Both falling is learning; "
        "the first rising while the second falls is overfitting.",
    ),
    _of(
        "failure_epochs", title="Failure model: epochs",
        meaning="That its fit ran before it stopped. At the limit in every round, it would have "
        "gone on: allow more.",
    ),
    _of(
        "proposals_found", title="Proposals found",
        meaning="The share of the proposals asked for that passed the filters before the sampler "
        "gave up. Below 1, a round has fewer to choose from.",
    ),
    _of(
        "effective_sample_size", title="Effective sample size",
        meaning="How many equally weighted proposals the weighted ones are worth. A few out of "
        "hundreds means that few proposals decide.",
    ),
    _of(
        "staleness", title="Staleness, rounds",
        meaning="How many rounds the proposals lag behind the newest answers, where rounds are in "
        "flight. 0 is the method as it was defined.",
    ),
    _of(
        "policy_loss", title="Policy loss",
        meaning="Of the policy gradient, before its steps. It compares rounds of one run only; a "
        "jump says that the step size is too large.",
    ),
    _of(
        "mean_advantage", title="Mean advantage",
        meaning="The mean reward, with bonuses and penalties, less the baseline. Without successes "
        "or a bonus it says nothing of the task.",
    ),
    _of(
        "mean_bonus", title="Mean bonus",
        meaning="What novelty adds to the reward. It falls as sequences stop being new.",
    ),
    _of(
        "prediction_error", "prediction_error_after", title="Novelty: prediction error",
        meaning="On the round's sequences, before and after learning them. If the two are equal "
        "the bonus does not adapt; if both vanish nothing is new any more.",
    ),
    _of(
        "gflownet_loss", title="GFlowNet loss", log=True,
        meaning="How far the flows are from balance. It should fall; a level far above 0 means "
        "that the policy cannot follow the reward.",
    ),
    _of(
        "log_z", title="log Z, nats",
        meaning="The log of all reward there is, as learned. It should settle.",
    ),
    _of(
        "log10_success_rate", "log10_filtered_success_rate", title="Exact success rate, decades",
        meaning="log10 of the chance that a sample succeeds, after the round and of what was "
        "asked for; known where all successes are. -3 is one in a thousand.",
    ),
    _of(
        "success_rate", title="Success rate by samples",
        meaning="Of samples that are drawn for the evaluation alone, and cost no reward "
        "evaluation.",
    ),
    _of(
        "log10_filter_gain", "log10_distillation_gain", title="Gains, decades",
        meaning="What the newest filter, and then distilling it into the generator, add to the "
        "success rate. Below 0 the step does harm.",
    ),
    _of(
        "targets_accepted", title="Successes that pass the filters",
        meaning="The share of all successes that no filter rules out. Below 1, the failure model "
        "takes successes for failures.",
    ),
    _of(
        "num_carrying_targets", title="Successes that carry the rate",
        meaning="How many successes make up 90% of the success rate. A rate that hangs on one or "
        "two is fragile.",
    ),
    _of(
        "mean_target_log_prob", title="Mean log-likelihood of successes",
        meaning="In nats. It should rise; -inf means that some success can no longer occur.",
    ),
)  # fmt: skip

# Drawn elsewhere on the page, or parts of what is.
ELSEWHERE = {
    "round", "num_reward_evaluations", "num_successes", "successes", "evaluation_found",
    "evaluation_successes",
}  # fmt: skip


def readings(names: list[str]) -> list[Reading]:
    """Of the metrics that a run has: those that are known in their order, then the others."""
    known = {name for reading in READINGS for name in reading.names}
    found = []
    for reading in READINGS:
        there = tuple(name for name in reading.names if name in names)
        if there:
            found.append(reading._replace(names=there))
    for name in names:
        if name not in known | ELSEWHERE:
            found.append(Reading(name, "As the algorithm or the evaluation reports it.", (name,)))
    return found
