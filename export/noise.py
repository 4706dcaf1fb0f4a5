"""The noise of an exported generator, as its manifest describes it, computed in numpy alone.

A second writing of the counter-based noise, on purpose: it shares no code with the exported graphs, so it can say what
they should have drawn, and it runs where no TensorFlow is installed.

Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3. SC 2011.
"""

import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = 0x1BD11BDA

DESCRIPTION = {
    "algorithm": "Threefry-2x32, 20 rounds",
    "reference": "Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3. SC 2011",
    "rotations": [list(rotations) for rotations in _ROTATIONS],
    "key_parity": _KEY_PARITY,
    "key_injection": "before round 1, and after every 4 rounds, the n-th time: x0 += k[n mod 3], x1 += k[(n + 1) mod 3] + n",
    "key": "the two int32 of a seed row, each read as uint32; k[2] = k[0] xor k[1] xor key_parity",
    "counter": "(index of the pair of words, stream number), both uint32",
    "words": "the two words of pair 0, then those of pair 1, ...; an odd number of draws leaves the last word unused",
    "streams": "one for each draw of the generator, in order from the prior down, from 0",
    "uniform": "((word >> 8) + 0.5) * 2^-24 in float32",
    "normal": "Box-Muller of neighbouring uniforms (u, v): sqrt(-2 log u) cos(2 pi v), then sqrt(-2 log u) sin(2 pi v)",
    "known_answer": {"key": [0, 0], "counter": [0, 0], "words": ["6b200159", "99ba4efe"]},
}


def words(seed, stream, size):
    """The first `size` words of a stream for each seed row.

    Args:
        seed: int32 `[B, 2]`.
        stream: number of the stream, from 0.
        size: how many words.

    Returns:
        uint32 array `[B, size]`.
    """
    key = np.ascontiguousarray(seed, np.int32).view(np.uint32)
    schedule = (key[:, 0:1], key[:, 1:2], key[:, 0:1] ^ key[:, 1:2] ^ np.uint32(_KEY_PARITY))
    pairs = (size + 1) // 2
    x0 = np.arange(pairs, dtype=np.uint32)[None] + schedule[0]
    x1 = np.full((1, pairs), stream, np.uint32) + schedule[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(bits)) | (x1 >> np.uint32(32 - bits))) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return np.stack([x0, x1], axis=-1).reshape(len(key), 2 * pairs)[:, :size]


def uniforms(seed, stream, size):
    """The first `size` uniforms of a stream for each seed row: float32 `[B, size]`, the exporter's bits."""
    return ((words(seed, stream, size) >> np.uint32(8)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-24)
