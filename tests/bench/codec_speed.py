"""CPU µs to encode and decode one record of each kind: `python tests/bench/codec_speed.py`. Takes a few seconds.

The best of many short rounds of process time: what the work costs, not what else the machine was doing.
"""

import time
import timeit
from collections.abc import Callable
from functools import partial

from services.chassis.avro import Codec
from services.chassis.testing.examples import all_examples

CALLS = 200
ROUNDS = 100


def cpu_us(call: Callable[[], object]) -> float:
    """CPU µs of one call."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS, timer=time.process_time)) / CALLS * 1e6


def main() -> None:
    """Print a line per record, for its largest example."""
    print(f"{'record':<18}{'bytes':>7}{'encode µs':>11}{'decode µs':>11}")
    largest = {example.record: example for example in sorted(all_examples(), key=lambda example: len(example.value))}
    for record, example in sorted(largest.items()):
        codec = Codec(record)
        encode, decode = cpu_us(partial(codec.encode, example.fields)), cpu_us(partial(codec.decode, example.value))
        print(f"{record:<18}{len(example.value):>7}{encode:>11.1f}{decode:>11.1f}")


if __name__ == "__main__":
    main()
