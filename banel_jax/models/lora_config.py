"""Settings of low-rank adapters."""

import re
from dataclasses import dataclass

from banel_jax import checks


@dataclass(frozen=True)
class LoraConfig:
    """Settings of the adapters.

    Attributes:
      rank: of each adapter; 0 is the base itself, with nothing to train.
      alpha: an adapter's product counts alpha / rank.
      targets: a regular expression, searched for in the path of each parameter, such as
        `block_0/qkv/kernel`; those it finds are adapted.
      exclude: likewise, those that are not; by default embeddings and the head. Empty for none.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: str = r"(^|/)kernel$"
    exclude: str = r"embed|(^|/)(lm_)?head/"

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "rank", at_least=0)
        checks.reals(self, "alpha", above=0)
        for name in ("targets", "exclude"):
            try:
                re.compile(getattr(self, name))
            except (re.error, TypeError) as error:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is no regular expression ({error})"
                ) from error

    @property
    def scale(self) -> float:
        return self.alpha / max(self.rank, 1)

    def adapts(self, path: str) -> bool:
        excluded = self.exclude and re.search(self.exclude, path)
        return bool(re.search(self.targets, path)) and not excluded
