"""How the ranks of a benchmark are connected: by memory, by TCP on the loopback, or over a link of limited rate.

The limited link is a pair of virtual Ethernet devices (veth).  Each end is in its own network namespace and
is limited to the rate by `tc tbf`, a token bucket; rank 1 runs in the second namespace.  This needs Linux with user
namespaces and iproute2, but no privileges: `unshare --map-root-user`.  MPICH's transport (UCX) looks for devices in
/sys, so each namespace mounts its own.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

BURST = 100  # kB for each Gbit/s, of the token bucket: what passes at once after a pause
TCP = {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self"}  # MPICH: no shared memory between ranks of one machine
IN_NAMESPACES = """
set -e
mount -t sysfs sysfs /sys
ip link set lo up
unshare --net --mount bash -c 'mount -t sysfs sysfs /sys; exec sleep 3600' & export OTHER=$!
trap 'kill $OTHER' EXIT
here=$(readlink /proc/self/ns/net)
for _ in $(seq 100); do [ "$(readlink /proc/$OTHER/ns/net)" != "$here" ] && break; sleep 0.1; done
sleep 0.2
ip link add v0 type veth peer name v1
ip link set v1 netns $OTHER
there="nsenter -t $OTHER --net"
ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up
$there ip addr add 10.9.0.2/24 dev v1 && $there ip link set v1 up && $there ip link set lo up
tc qdisc add dev v0 root tbf rate RATE burst BURST latency 50ms
$there tc qdisc add dev v1 root tbf rate RATE burst BURST latency 50ms
"$@"
"""
RANK = """
if [ "$PMI_RANK" = 1 ]; then UCX_NET_DEVICES=v1 exec nsenter -t $OTHER --net --mount --wd="$PWD" "$@"; fi
UCX_NET_DEVICES=v0 exec "$@"
"""


class Link(NamedTuple):
    """A way between two ranks; gbit: its limit, None without one."""

    name: str
    tcp: bool = True
    gbit: float | None = None


MEMORY = Link("shared memory", tcp=False)
LOOPBACK = Link("TCP, loopback")
VETH = [Link(f"TCP, veth limited to {gbit:g} Gbit/s", gbit=gbit) for gbit in (1, 10)]


def command(link: Link, ranks: int, program: Sequence[str], launcher: Sequence[str] = ()) -> list[str]:
    """The command line that runs a program as so many ranks over a link."""
    if ranks == 1:
        return list(program)
    start = [*(launcher or [mpirun()]), "-n", str(ranks)]
    if link.gbit is None:
        return [*start, *program]
    script = IN_NAMESPACES.replace("RATE", f"{link.gbit * 1000:g}mbit").replace("BURST", f"{BURST * link.gbit:g}kb")
    inside = ["bash", "-c", script, "bash", *start, "-host", "localhost", "bash", "-c", RANK, "bash", *program]
    return ["unshare", "--map-root-user", "--net", "--mount", *inside]


def environment(link: Link) -> dict[str, str]:
    """The environment of a job over a link."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | (TCP if link.tcp else {})


def mpirun() -> str:
    """The launcher, that of this Python's environment first.  Exits where there is none."""
    found = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    return found or sys.exit("no mpirun here: pip install 'nplm-nce[mpi-local]'")


def why_not(link: Link) -> str | None:
    """Why a link cannot be made here, or None."""
    if link.gbit is None:
        return None
    run = subprocess.run(
        command(link, 2, ["true"], ["true"]), capture_output=True, text=True, env=environment(link), timeout=60
    )
    return (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1] if run.returncode else None
