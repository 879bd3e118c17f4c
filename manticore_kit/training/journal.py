"""A run's metrics as they come: one JSON line for each event, in the order of steps.

Lines hold nothing that depends on time or machine, so a run that is repeated writes the same file. A run that goes on
from a checkpoint forgets what came after it, which will be written again.
"""

import json
from pathlib import Path
from typing import Any


class Journal:
    """The events of one run; kept in `file`, or in memory alone where that is None."""

    def __init__(self, file: Path | None, *, until: int = 0):
        """Goes on from the events of `file` up to step `until`."""
        self.events: list[dict[str, Any]] = []
        self._stream = None
        if file is None:
            return
        if file.exists():
            self.events = [event for event in read_events(file) if event["step"] <= until]
        part = file.with_name(f".{file.name}.part")
        part.write_text("".join(_line(event) for event in self.events), encoding="utf-8")
        part.replace(file)
        self._stream = file.open("a", encoding="utf-8")

    def write(self, event: str, step: int, **values: Any) -> None:
        """Adds an event of that kind at `step`."""
        entry = {"step": step, "event": event, **values}
        self.events.append(entry)
        if self._stream is not None:
            self._stream.write(_line(entry))
            self._stream.flush()

    def close(self) -> None:
        """Ends the file; the events stay."""
        if self._stream is not None:
            self._stream.close()


def read_events(file: Path) -> list[dict[str, Any]]:
    """The events in a journal's file; a last line that was cut short is left out."""
    events = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"
