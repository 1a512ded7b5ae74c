"""`make kafka`: Apache Kafka in the foreground on TOUCHSTREAM_KAFKA_BOOTSTRAP, its data in the state folder."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from deploy.kafka.cluster import Cluster
from deploy.local.settings import local_settings
from services.chassis.errors import Fatal
from services.chassis.logs import configure_logs
from services.chassis.run import Stop, run

LOOK_EVERY_S = 0.5
STOP_TIMEOUT_S = 20.0


def main(stop: Stop) -> None:
    """Start one broker or three, run until told to stop; Fatal when one ends by itself."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kafka", description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="1, or 3 that keep three copies")
    parser.add_argument("--prepare", action="store_true", help="only fetch the jars and record a first start")
    options = parser.parse_args()
    brokers: int = options.brokers
    settings = local_settings()
    configure_logs("kafka", settings.log_level)
    if options.prepare:
        with tempfile.TemporaryDirectory() as scratch:
            Cluster(Path(scratch)).prepare()
        return
    # A folder for each number: a cluster does not change its voters.
    folder = settings.state_dir / ("kafka" if brokers == 1 else f"kafka-{brokers}")
    cluster = Cluster(folder, brokers, port=settings.kafka_address[1])
    print("kafka: starting; the first time its jars are fetched", flush=True)
    try:
        begun = time.monotonic()
        cluster.start()
        print(f"kafka: ready after {time.monotonic() - begun:.1f} s on {cluster.bootstrap}; data and logs in {folder}")
        for number in cluster.numbers:
            print(f"kafka: broker {number} is pid {cluster.pid(number)}")
        print("kafka: Ctrl-C stops it", flush=True)
        while not stop.wait(LOOK_EVERY_S):
            ended = [number for number in cluster.numbers if not cluster.is_running(number)]
            if len(ended) == len(cluster.numbers):
                raise Fatal(f"all brokers have ended; see {cluster.log(1)}")
    finally:
        cluster.close(STOP_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(run(main))
