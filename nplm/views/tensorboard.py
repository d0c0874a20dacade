"""The metrics of runs as TensorBoard events."""

import math
import tempfile
from pathlib import Path

from nplm import atomic, optional
from nplm.views.metrics_log import Record, Runs, series

SKIPPED = ("kind", "epoch", "chunk", "tokens_trained", "seconds")  # the position of a line, not its measurements


def write_events(runs: Runs, folder: str | Path) -> list[Path]:
    """Write each run's metrics as events for TensorBoard, to folder/RUN; returns the files, which it replaces.

    Tags are train/loss, valid/perplexity, and so on; steps are tokens trained on; the wall time is seconds of training.
    Raises InputError without tensorboardX, or if nothing can be written.
    """
    package = optional.load("tensorboardX", "tensorboard", "writing TensorBoard's events")
    paths = []
    for name, run in runs.items():
        path = Path(folder) / name.strip("/").replace("..", "_") / "events.out.tfevents.0.nplm"
        with tempfile.TemporaryDirectory(prefix="nplm-") as temporary:
            with package.SummaryWriter(temporary) as writer:
                for record in sorted(run.train + run.valid, key=lambda line: line["tokens_trained"]):
                    for tag, value in _scalars(record):
                        writer.add_scalar(tag, value, record["tokens_trained"], walltime=record["seconds"])
            events = next(Path(temporary).glob("events.*")).read_bytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.not_written(path.parent, error) from error
        atomic.write(path, [events])
        paths.append(path)
    return paths


def _scalars(record: Record) -> list[tuple[str, float]]:
    """The finite figures of a line, under their tags."""
    names = [name for name in record if name not in SKIPPED]
    values = [(f"{record['kind']}/{name}", series([record], name)[0]) for name in names]
    return [(tag, value) for tag, value in values if math.isfinite(value)]
