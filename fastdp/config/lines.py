"""Line numbers of the keys of a TOML file, for messages; tomllib does not give them."""

from __future__ import annotations

import re

Location = tuple[str | int, ...]
"""Keys from the top of the file down; entries of arrays of tables by number from 0."""

HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\- ]+?)\s*\]\]?\s*(#.*)?$")
ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_\-]+)\s*=")


class KeyLines:
    """Where tables and keys stand in a valid TOML text.

    Plain headers and `key = value` lines are found; quoted and dotted keys are not, and a lookup then
    gives the line of the table around them.

    Parameters
    ----------
    text : str
        A TOML document.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        counts: dict[str, int] = {}
        table: Location = ()
        for number, line in enumerate(text.splitlines(), start=1):
            header = HEADER.match(line)
            if header:
                names = tuple(part.strip() for part in header[2].split("."))
                table = names
                if header[1] == "[[":
                    index = counts.get(header[2], 0)
                    counts[header[2]] = index + 1
                    table = (*names, index)
                    self._lines.setdefault(names, number)
                self._lines.setdefault(table, number)
                continue
            assignment = ASSIGNMENT.match(line)
            if assignment:
                self._lines.setdefault((*table, assignment[1]), number)

    def find(self, location: Location) -> int | None:
        """Return the line of the key at `location`, or of the nearest table around it.

        Parameters
        ----------
        location : tuple of str and int

        Returns
        -------
        int or None
            Counted from 1.
        """
        for length in range(len(location), 0, -1):
            if location[:length] in self._lines:
                return self._lines[location[:length]]
        return None
