"""A fault at every call of every command that writes, one command and one fault to a child of a warm parent."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from hostile.children import HANGS, forked
from hostile.commands import COMMANDS, Command, Workplace, contents, verdict
from hostile.library_calls import LibraryCalls
from hostile.python_calls import KINDS, PythonCalls

ROW = 10  # faults in a row of figures


class Injector:
    """The commands, the calls that each makes without a fault, and what each then writes."""

    def __init__(self, folder: Path, calls: LibraryCalls | PythonCalls) -> None:
        self.place, self.calls = Workplace(folder / "work"), calls
        self.made: dict[str, tuple[int, dict[str, bytes]]] = {}
        self.whole = folder / "whole"
        for command in COMMANDS:
            self.place.clear(command)
            code, said = self.place.run(command)  # in this process: all is imported and compiled
            assert code == 0, f"{command.name}: {said}"
            new = contents(self.place.output)
            if command.name == "train":
                (self.place.output / "run").rename(self.whole)
            self.place.clear(command)
            count = forked(lambda place, command=command: self._counted(command)).result
            assert count, f"{command.name} makes no call"
            self.made[command.name] = count, new

    def _counted(self, command: Command) -> int:
        self.calls.arm(self.place.watched)
        code, said = self.place.run(command)
        assert code == 0, said
        return self.calls.count()

    def places(self) -> list[tuple[Command, int, str]]:
        """Every command, call and kind of fault."""
        return [(c, n, kind) for c in COMMANDS for n in range(1, self.made[c.name][0] + 1) for kind in KINDS]

    def one(self, command: Command, at: int, kind: str) -> str:
        """What is wrong after one fault; "" where all is as promised."""
        place, (_, new) = self.place, self.made[command.name]
        place.clear(command)

        def work(_: Any) -> int:
            self.calls.arm(place.watched, at, kind)
            code, _ = place.run(command)
            os._exit(code)  # a result by the pipe would be one more call

        ending = forked(work)
        if ending.hung:
            return f"hung for {HANGS} seconds"
        killed = ending.code == -9
        if ending.code < 0 and not (killed and kind.startswith("kill")):
            return f"died by signal {-ending.code}"
        checked = forked(lambda _: verdict(place, command, new, self.whole, ending.code, killed))
        return f"the check itself ended with {checked.code}" if checked.code else str(checked.result)


def stage(seed: str, folder: Path, calls: LibraryCalls | PythonCalls, how: str) -> Iterator[dict[str, Any]]:
    """Faults in random order, each place once, then over again; rows by command."""
    injector = Injector(folder, calls)
    rng, total = Random(f"faults/{seed}"), injector.places()
    while True:
        rng.shuffle(total)
        for command, at, kind in total:
            wrong = injector.one(command, at, kind)
            faults = [{"n": at, "error": f"{kind}: {wrong}"}] if wrong else []
            counts = {"faults injected": 1, **({"fault": 1} if wrong else {})}
            yield {"kind": f"faults at {how} calls", "command": command.name, "counts": counts, "faults": faults}
