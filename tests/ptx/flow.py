"""Which registers a thread has to keep where it stops to wait for others."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Step:
    """An instruction in C.

    Attributes
    ----------
    code : str
        With `@STOP@` where a thread stops and goes on.
    reads, writes : set of str
        Registers; only those that are certainly written.
    targets : tuple of str
        Labels that it may go to.
    falls : bool
        Whether the next instruction may follow.
    stops : bool
        Whether a thread may stop here.
    label : str
        That stands here.
    """

    code: str = ""
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    targets: tuple[str, ...] = ()
    falls: bool = True
    stops: bool = False
    label: str = ""


def live_after(steps: list[Step]) -> list[set[str]]:
    """Return for each step the registers that may be read after it before they are written."""
    numbers: dict[str, int] = {}
    places = {step.label: i for i, step in enumerate(steps) if step.label}

    def mask(names: set[str]) -> int:
        result = 0
        for name in names:
            result |= 1 << numbers.setdefault(name, len(numbers))
        return result

    reads, writes = [mask(step.reads) for step in steps], [mask(step.writes) for step in steps]
    before = [0] * (len(steps) + 1)
    after = [0] * len(steps)
    changed = True
    while changed:
        changed = False
        for i in range(len(steps) - 1, -1, -1):
            out = before[i + 1] if steps[i].falls else 0
            for target in steps[i].targets:
                out |= before[places[target]]
            after[i] = out
            now = (out & ~writes[i]) | reads[i]
            if now != before[i]:
                before[i] = now
                changed = True
    names = list(numbers)
    return [
        {name for number, name in enumerate(names) if bits >> number & 1} if step.stops else set()
        for step, bits in zip(steps, after, strict=True)
    ]
