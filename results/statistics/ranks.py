"""Percentiles by nearest rank."""


def nearest_rank(share: float, count: int) -> int:
    """The rank of a percentile among `count` values in ascending order, from 1: ceil(share N).

    Args:
        share: of the values, 0 to 1, taken to a millionth, so that the rank is exact:
            ceil(0.07 * 100) in floating point is 8.
        count: N; 0 gives rank 0.
    """
    return max(-(-round(share * 1_000_000) * count // 1_000_000), min(count, 1))
