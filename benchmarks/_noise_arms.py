"""The arms of study_noise.py: ways to draw and share noise and to divide the sequence, and sets of them."""

from typing import NamedTuple

S, CHUNKS, B = 640, 32, 20


class Arm(NamedTuple):
    """One way to draw and to share the noise, and to cut the sequence."""

    num_noise: int  # K
    groups: int | None = None  # M; None: a fresh group for every chunk
    draw: str = "independent"
    redraw: str | None = None  # of a pool
    chunks: int = CHUNKS  # N
    objective: str = "nce"
    own_counts: bool = False

    @property
    def name(self) -> str:
        """As on the command line."""
        parts = [self.objective] if self.objective != "nce" else []
        parts += ["uncut"] if self.chunks == 1 else [f"pool-{self.groups}" if self.groups else "fresh"]
        parts += [self.draw] if self.draw != "independent" else []
        parts += ["own"] if self.own_counts else []
        parts += [self.redraw] if self.redraw not in (None, "sequence") else []
        return "-".join([*parts, f"k{self.num_noise}"])

    @property
    def flags(self) -> list[str]:
        """Of nplm train."""
        text = f"--nce {self.num_noise} --sequence-length {S} --bptt {S // self.chunks} --batch-size {B}"
        text += f" --objective {self.objective} --noise-draw {self.draw}"
        if self.groups:
            group_map = "cyclic" if self.draw == "stratified" else "contiguous"
            text += f" --noise pool --noise-groups {self.groups} --group-map {group_map} --redraw {self.redraw}"
            text += " --own-counts" if self.own_counts else ""
        if self.chunks == 1 or self.groups == 1:
            text += " --baseline"
        return text.split()


def pool(num_noise: int, groups: int, draw: str = "independent", redraw: str = "sequence", own: bool = False) -> Arm:
    """Claim 3, or with M = 1 its baseline."""
    return Arm(num_noise, groups, draw, redraw, own_counts=own)


KS, MS = (100, 400, 1600, 25, 6400), (2, 8, 4, 16)  # M = 32 is fresh noise: each chunk has an independent group
MAIN = [
    Arm(100), pool(100, 2), pool(100, 32, "stratified"), pool(100, 1), Arm(100, chunks=1), Arm(1600), pool(1600, 2),
]  # fmt: skip
MAP = [arm for k in KS for arm in (Arm(k), *(pool(k, m) for m in MS), pool(k, 1))]
STRATIFIED = [
    arm
    for k in (100, 25, 400, 1600)
    for arm in (*(pool(k, m, "stratified") for m in (32, 16, 8, 2)), Arm(k, draw="stratified"))
]
OTHERS = [
    *(Arm(k, chunks=1) for k in (1600, 400)),
    *(Arm(k, objective=name) for name in ("ranking", "sampled-softmax") for k in (100, 1600)),
    *(pool(100, 2, redraw=redraw) for redraw in ("epoch", "never")),
    *(pool(k, 32, "stratified", "never", own) for k in (100, 1600) for own in (True, False)),
    *(pool(100, m, "independent", "sequence", True) for m in (2, 8)),
]
SETS = {"main": MAIN, "map": [*MAIN, *MAP, *STRATIFIED], "others": OTHERS, "quick": [Arm(25), pool(25, 2)]}
