"""What must agree on all ranks of a job, so that their results are bit-identical."""

import socket
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from threadpoolctl import threadpool_info

from nplm._version import __version__
from nplm.errors import InputError
from nplm.kernels._jit import BFLOAT16_MAKER, processor
from nplm.ranks.alone import Ranks

MAY_DIFFER = ("processor", "maker of bfloat16", "BLAS")  # if the user allows it


def check(ranks: Ranks, facts: Mapping[str, Any], *, allow_mixed: bool) -> None:
    """Raise InputError, on every rank, if versions, processors or `facts` of a rank differ from those of rank 0."""
    own = {
        "nplm": __version__,
        "NumPy": np.__version__,
        "Numba": numba.__version__,
        "processor": processor(),
        "maker of bfloat16": BFLOAT16_MAKER,
        "BLAS": _blas(),
        **facts,
    }
    hosts, found = zip(*ranks.gather((socket.gethostname(), own)), strict=True)
    for name in own:
        values = [facts.get(name) for facts in found]
        other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if other is None or (allow_mixed and name in MAY_DIFFER):
            continue
        remedy = "make them the same"
        if name in MAY_DIFFER:
            remedy = "use machines of one kind, or `allow_mixed`: results may then differ in the last bits"
        raise InputError(
            f"{name} is {values[0]} on rank 0 ({hosts[0]}) and {values[other]} on rank {other} ({hosts[other]}):"
            f" {remedy}"
        )


def _blas() -> list[tuple[Any, ...]]:
    """Name, version and kernels of the libraries that NumPy multiplies with."""
    keys = ("internal_api", "version", "architecture")
    return [tuple(pool.get(key) for key in keys) for pool in threadpool_info() if pool["user_api"] == "blas"]


def check_threads(ranks: Ranks, shards: int, batch_size: int, threads: int) -> None:
    """Raise InputError if a chunk has fewer shards than all ranks have threads."""
    if ranks.size == 1:
        return
    wanted, there = ranks.size * max(threads, 1), min(shards, batch_size)
    if wanted > there:
        each = f" of `threads` = {threads} each" if threads > 1 else ""
        name = "shards" if shards <= batch_size else "batch_size"
        raise InputError(
            f"{ranks.size} ranks{each} have no more than `{name}` = {there} to share: raise `{name}` to {wanted},"
            " or start fewer"
        )
