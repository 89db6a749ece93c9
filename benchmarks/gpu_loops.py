"""Instructions in the loops of a kernel's machine code, as `nvdisasm` shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

MOST_FREQUENT = 8
"""Kinds of instructions that are named."""


def disassembly(cubin: Path) -> str:
    """Return the machine code of a file as text, by `nvdisasm` of a wheel or in the path."""
    found = shutil.which("nvdisasm")
    if found is None:
        try:
            import nvidia
        except ImportError as error:
            raise SystemExit("needs nvdisasm: pip install nvidia-cuda-nvdisasm") from error
        places = [place for root in nvidia.__path__ for place in Path(root).glob("*/bin/nvdisasm")]
        if not places:
            raise SystemExit("needs nvdisasm: pip install nvidia-cuda-nvdisasm")
        found = str(places[0])
    return subprocess.run([found, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout


def loops(text: str) -> list[str]:
    """Return a line for each loop, indented by depth: instructions in it, loops within included.

    A loop is what lies between a label and the last jump back to it; of a loop that the compiler has unrolled
    that is several turns. How often each is run is not known here.
    """
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(found[1].strip())
    ends: dict[int, int] = {}
    for number, instruction in enumerate(instructions):
        jump = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", instruction)
        # The last instruction of a kernel jumps to itself.
        if jump and labels.get(jump[1], number) < number:
            start = labels[jump[1]]
            ends[start] = max(ends.get(start, 0), number)
    result = [f"{len(instructions)} instructions"]
    for start, end in sorted(ends.items()):
        depth = sum(1 for other, last in ends.items() if other < start and end <= last)
        kinds = Counter(kind(instruction) for instruction in instructions[start : end + 1])
        frequent = ", ".join(f"{name} {n}" for name, n in kinds.most_common(MOST_FREQUENT))
        result.append(f"{'  ' * (depth + 1)}{end - start + 1}: {frequent}")
    return result


def kind(instruction: str) -> str:
    """Return what an instruction is, without predicate and modifiers."""
    return re.sub(r"^@!?U?P\d+\s+", "", instruction).split()[0].split(".")[0]
