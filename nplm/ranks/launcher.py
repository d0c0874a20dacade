"""Whether a launcher such as mpirun or srun started this process, determined without importing MPI.

Every launcher sets environment variables for its processes.  The first one that is set counts: the processes of an
mpirun inside a Slurm job inherit Slurm's variables, which then describe something else.
"""

import os
from typing import NamedTuple

VARIABLES = (  # number of processes, and this one's: MPICH and Intel MPI, Open MPI, srun
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


TIMEOUT = 600.0  # seconds that a rank waits for the others; compilation on one of them takes a minute


class Launch(NamedTuple):
    """What the launcher says."""

    size: int = 1
    rank: int = 0
    variable: str = ""  # where this was found


def launch() -> Launch:
    """The launcher's number of processes, and the rank of this one; a single process if there is no launcher."""
    for size, rank in VARIABLES:
        if os.environ.get(size, "").isdigit() and os.environ.get(rank, "").isdigit():
            return Launch(int(os.environ[size]), int(os.environ[rank]), size)
    return Launch()
