"""The rotary positions of a `config.json`: their base, and what stretches them."""

from typing import Any

from banel_jax.checks import one_line
from banel_jax.models.language.decoder_config import RopeScaling

PLACES = ("rope_scaling", "rope_parameters")  # the older and the newer one
KEYS = (*PLACES, "rope_theta", "original_max_position_embeddings")
THETA = 10000.0  # what `transformers` takes a missing one for
LLAMA3 = {  # its keys there, and the fields of RopeScaling
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_max_position_embeddings": "original_context",
}
KINDS: dict[str, dict[str, str]] = {"default": {}, "linear": {"factor": "factor"}, "llama3": LLAMA3}
# What says nothing without the scaling that reads it, and the values that are as good as none.
NOTHING = {"factor": 1.0, "partial_rotary_factor": 1.0}
LENGTH = "original_max_position_embeddings"


def read(values: dict[str, Any]) -> tuple[Any, RopeScaling | None]:
    """The base of the wavelengths, not yet looked at, and the scaling.

    Args:
      values: of config.json, with max_position_embeddings; without those that are null.

    Raises:
      ValueError: for a kind that is not supported, or one that is not complete.
    """
    found = []
    for place in PLACES:
        rope = values.get(place, {})
        given = dict(rope) if isinstance(rope, dict) else {place: rope}
        given = {name: value for name, value in given.items() if value is not None}
        theta = given.pop("rope_theta", None)
        if given or theta is not None:
            found.append((theta, _scaling(place, rope, given, values)))
    # As in `transformers` the first that is there holds, and not the other.
    theta, scaling = found[0] if found else (None, None)
    theta = values.get("rope_theta", THETA) if theta is None else theta
    for other, also in found[1:]:
        if other not in (None, theta) or also not in (None, scaling):
            raise ValueError(f"{' and '.join(PLACES)} are not the same; keep the one that holds")
    return theta, scaling


def _scaling(place, rope, given, values):
    kind = given.pop("type", "default")
    kind = given.pop("rope_type", kind)
    known = KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise _refusal(place, rope, "rope_type" if "rope_type" in rope else "type")
    for name, value in given.items():
        if name not in known and name != LENGTH and NOTHING.get(name) != value:
            raise _refusal(place, rope, name)
    if kind == "default":
        return None
    if kind == "llama3":  # as in `transformers`, a value beside the others wins
        given.setdefault(LENGTH, values["max_position_embeddings"])
        given[LENGTH] = values.get(LENGTH, given[LENGTH])
    missing = [name for name in known if name not in given]
    if missing:
        raise ValueError(f"{place}={one_line(repr(rope))} lacks {missing[0]!r}")
    try:
        return RopeScaling(kind, **{field: given[name] for name, field in known.items()})
    except ValueError as error:
        text = str(error).replace("original_context=", f"{LENGTH}=")
        raise ValueError(f"{place}: {text}") from error


def _refusal(place, rope, name):
    return ValueError(
        f"{place}={one_line(repr(rope))} is not supported for its {name!r}, only a rope_theta and "
        f"a rope_type of {', '.join(KINDS)} with its own values are"
    )


def written(theta: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """The keys of config.json, in both places, since older readers know the one alone."""
    given: dict[str, Any] = {"rope_type": "default"}
    if scaling is not None:
        values = {name: getattr(scaling, field) for name, field in KINDS[scaling.kind].items()}
        given = {"rope_type": scaling.kind} | values
    return {
        "rope_theta": theta,
        "rope_scaling": None if scaling is None else given,
        "rope_parameters": {"rope_theta": theta} | given,
    }
