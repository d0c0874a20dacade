"""Stratified draws as printed, in exact fractions: the oracle for noise/strata.py.

[Z8] stratum s = [s, s + 1) / (M K),  s = j M + i;  part j = [j, j + 1) / K has M of them, one for each group
[Z9] group g draws from part j in stratum i = a (g - r_j) mod M, at x = (j M + i + u) / (M K), r_j and u at random
[Z10] word = the first w with q(0) + ... + q(w) > x
"""

from fractions import Fraction

from nplm.reference.alias import philox


def draw(probs, k, keys, place, groups, a):
    """The K words of group g of M.  probs: (V,) Fractions with sum 1; place: g and two numbers that name the pool."""
    group, *pool = place
    words = []
    for j in range(k):
        r = bits(keys[1], (0, *pool), j) // 2**32 * groups // 2**32  # in [0, M)
        u = Fraction(bits(keys[0], (group, *pool), j) // 2**11, 2**53)  # in [0, 1)
        i = a * (group - r) % groups
        words.append(word_at(probs, (j * groups + i + u) / (groups * k)))  # [Z9]
    return words


def word_at(probs, x):
    """[Z10]."""
    total = Fraction(0)
    for w, q in enumerate(probs):
        total += q
        if total > x:
            return w
    raise ValueError(f"{x} is not below the sum of all probabilities, {total}")


def bits(key, counter, draw):
    """The 64 random bits of a draw: halves of one number of the generator, as in reference/alias.py."""
    x = philox((draw // 2, *counter), (key % 2**32, key // 2**32))
    return x[1] * 2**32 + x[0] if draw % 2 == 0 else x[3] * 2**32 + x[2]


def share(probs, stratum, groups, k):
    """Probability of every word for a draw from a stratum: the part of it that lies on the word."""
    low, high = Fraction(stratum, groups * k), Fraction(stratum + 1, groups * k)
    found, start = [], Fraction(0)
    for q in probs:
        found.append(max(Fraction(0), min(high, start + q) - max(low, start)) * groups * k)
        start += q
    return found
