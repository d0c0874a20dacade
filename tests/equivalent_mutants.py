"""Mutants that survive because they change no value, each with the reason; found by tests/mutants.py, read one by one.

Three reasons recur. SPEED: the result is the same and only the time or the memory differs. MESSAGE: the text of an
error. UNREACHED: the code runs with the JIT or on another processor only, so a mutant of it is not seen here.
"""

SPEED, UNREACHED = "the same result, slower or in more memory", "not run as plain Python"
EQUIVALENT: dict[str, str] = {
    "layers/workspace.py Workspace.empty: buffer.size < size -> buffer.size <= size": SPEED,
    "training/step.py Shards._by_name: True -> False": "zip of two lists that have the same length in any case",
}
