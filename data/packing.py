"""Packing: which of many things lie together in one row."""

import bisect

import numpy as np


def pack(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """Best-fit-decreasing bin packing, which leaves few gaps: the largest first, each into the fullest bin it fits.

    Items of one size are placed together, so the cost grows with the number of different sizes, not of items.

    Args:
        sizes: int [n], each in [1, capacity].
        capacity: size of a bin.

    Returns:
        int64 [n]: the bin of each item, 0, 1, ...
    """
    sizes = np.asarray(sizes)
    bins = np.empty(len(sizes), np.int64)
    by_size = np.argsort(-sizes, kind="stable")
    distinct, counts = np.unique(sizes, return_counts=True)
    stops = np.cumsum(counts[::-1])
    open_bins, rooms = {}, []  # bins by the room that is left in them, and these rooms in ascending order
    num_bins = 0
    for size, stop, count in zip(distinct[::-1].tolist(), stops.tolist(), counts[::-1].tolist(), strict=True):
        items = by_size[stop - count : stop]
        left = []  # (room, bins) after this size has been placed
        while len(items):
            where = bisect.bisect_left(rooms, size)
            room = rooms[where] if where < len(rooms) else capacity
            each = room // size  # a bin stays the best fit until it cannot take another
            needed = -(-len(items) // each)
            if where < len(rooms):
                candidates = open_bins[room]
                chosen, rest = candidates[:needed], candidates[needed:]
                if len(rest):
                    open_bins[room] = rest
                else:
                    del open_bins[room], rooms[where]
            else:
                chosen = np.arange(num_bins, num_bins + needed)
                num_bins += needed
            here = min(len(items), len(chosen) * each)
            bins[items[:here]] = np.repeat(chosen, each)[:here]
            items = items[here:]
            full, partial = divmod(here, each)
            left.append((room - each * size, chosen[:full]))
            left.append((room - partial * size, chosen[full:]))
        for room, chosen in left:
            if room and len(chosen):
                if room not in open_bins:
                    bisect.insort(rooms, room)
                    open_bins[room] = chosen
                else:
                    open_bins[room] = np.concatenate([open_bins[room], chosen])
    return bins
