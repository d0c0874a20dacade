"""The noise words: their distribution q, its sampler, and the groups of noise words that chunks share."""

from nplm.noise.alias import AliasTable
from nplm.noise.distribution import NoiseDistribution
from nplm.noise.groups import FreshNoise, NoiseGroups, NoisePool, make_noise
from nplm.noise.keys import stream_key
from nplm.noise.statistics import GroupStatistics, group_statistics

__all__ = [
    "AliasTable",
    "FreshNoise",
    "GroupStatistics",
    "NoiseDistribution",
    "NoiseGroups",
    "NoisePool",
    "group_statistics",
    "make_noise",
    "stream_key",
]
