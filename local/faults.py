"""What a broker may do to an event although it accepted it: lose it, deliver it twice, deliver it late."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from common.errors import InvalidInput

_MOST = {"late_s": 3600, "copies": 100}  # a rate is at most 1


@dataclass
class Faults:
    """Rates in [0, 1], each per delivery; a late one waits up to ``late_s`` seconds, so that others overtake it.

    What is delivered more than once is delivered ``copies`` times.
    """

    lose: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    late_s: float = 1.0
    copies: int = 2
    rng: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - reproducible faults, no secret

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read ``lose=0.05,duplicate=0.1,copies=3,reorder=0.2,late_s=2,seed=7``; empty: no faults.

        Raises:
            InvalidInput: an unknown name, no number, or one that is out of range.
        """
        values: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            try:
                values[name] = float(value)
            except ValueError as error:
                msg = f"broker faults: expected a number for {name!r}, got {value!r}"
                raise InvalidInput(msg) from error
        seed = int(values.pop("seed", 0))
        if unknown := set(values) - {"lose", "duplicate", "copies", "reorder", "late_s"}:
            msg = f"broker faults: unknown {sorted(unknown)}; expected lose, duplicate, copies, reorder, late_s, seed"
            raise InvalidInput(msg)
        for name, given in values.items():
            most = _MOST.get(name, 1)
            if not 0 <= given <= most:
                msg = f"broker faults: {name} is out of range: it is at most {most}"
                raise InvalidInput(msg)
        copies = int(values.pop("copies", 2))
        return cls(**values, copies=copies, rng=random.Random(seed))  # noqa: S311 - as above

    def times(self) -> int:
        """How often the next delivery happens."""
        if self.lose and self.rng.random() < self.lose:
            return 0
        return self.copies if self.duplicate and self.rng.random() < self.duplicate else 1

    def delay_s(self) -> float:
        """Seconds the next delivery is late, usually 0."""
        if self.reorder and self.rng.random() < self.reorder:
            return self.rng.uniform(0, self.late_s)
        return 0.0
