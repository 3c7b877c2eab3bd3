"""The fault matrix: what the tests of faults found, as the table of docs/reliability.md.

Each test records its cell. The table in the document has to be the one that the tests made; with the environment
variable `WRITE_FAULT_MATRIX` set they write it there.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

PHASES = ("reception", "assembly", "inference", "delivery")
BEGIN, END = "<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"


@dataclass
class FaultMatrix:
    """Outcomes by fault and phase, in the order of the faults."""

    cells: dict[str, dict[str, str]] = field(default_factory=dict)

    def record(self, fault: str, phase: str, outcome: str) -> None:
        """Put down what a fault in a phase led to."""
        self.cells.setdefault(fault, {})[phase] = outcome

    def table(self) -> str:
        """Return the matrix as a table in Markdown."""
        lines = [f"| fault | {' | '.join(PHASES)} |", "| --- |" + " --- |" * len(PHASES)]
        for fault, row in self.cells.items():
            lines.append(f"| {fault} | {' | '.join(row.get(phase, '–') for phase in PHASES)} |")
        return "\n".join(lines)


def table_in(document: Path) -> str:
    """Return the table between the marks of a document."""
    found = re.search(f"{BEGIN}\n(.*?)\n{END}", document.read_text("utf-8"), re.DOTALL)
    return found[1].strip() if found else ""


def settle(matrix: FaultMatrix, document: Path) -> str:
    """Return the table that the document should have; write it there if asked to."""
    table = matrix.table()
    if os.environ.get("WRITE_FAULT_MATRIX"):
        text = document.read_text("utf-8")
        document.write_text(re.sub(f"({BEGIN}\n).*?(\n{END})", rf"\1{table}\2", text, flags=re.DOTALL), "utf-8")
    return table
