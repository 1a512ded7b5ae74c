"""The configurations that are run: those of the design's model, as far as the product has what they are about."""

from tests.property.simulator.workload import Config

CONFIGURATIONS = {
    "calm": Config(faults=(0, 0), lost_sends=(0, 0)),
    "freezes": Config(faults=(4, 14), only=("freeze",), lost_sends=(0, 0)),
    "crashes": Config(only=("crash",)),
    "mixed": Config(),
    "many faults": Config(faults=(8, 18)),
    "merge storm": Config(identifiers=9, link=0.7, events=40, unlink=0.02),
    "split storm": Config(identifiers=5, link=0.5, events=40, unlink=0.18),
    "erase storm": Config(identifiers=12, events=40, erase=0.08, unlink=0.06),
    "lost sends": Config(lost_sends=(3, 9)),
    "lost answers": Config(only=("lose_request", "lose_answer"), faults=(4, 12)),
    "client duplicates": Config(
        repeat=0.1, repeat_elsewhere=0.12, window_h=1, minutes=(5, 30), identifiers=5, link=0.5, unlink=0.08
    ),
    "days pass": Config(ages=True, repeat=0.1, repeat_elsewhere=0.12, unlink=0.08, link=0.5),
    "clock skew": Config(skew_ms=250_000),
    "poison": Config(garbage=0.15),
    "limits": Config(limits=True, identifiers=12, link=0.6, unlink=0.06),
    "guards": Config(guards=True, identifiers=15, link=0.7, events=45, person=0.1, repeat=0.02),
    "guards, days pass": Config(guards=True, ages=True, identifiers=13, link=0.6, events=45, person=0.1, unlink=0.06),
    "new thresholds": Config(sweeps=True),
    "two partitions": Config(partitions=2, identifiers=4, events=24, link=0.5, unlink=0.12),
    "five partitions": Config(partitions=5, processes=3, identifiers=9, events=50, link=0.5, unlink=0.08),
    "batch of one": Config(batch_most=1),
    "large batches": Config(batch_most=14, events=45),
    "all in Lua": Config(pure_lua=True),
    "everything": Config(
        repeat=0.06, repeat_elsewhere=0.06, window_h=2, unlink=0.1, erase=0.03, identifiers=8, link=0.5, events=40,
        skew_ms=100_000, lost_sends=(0, 4), faults=(4, 12), garbage=0.06, sweeps=True,
    ),
}  # fmt: skip
