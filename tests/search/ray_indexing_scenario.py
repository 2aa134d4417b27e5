"""Run as a program: a folder indexed on a cluster of two workers, of which one is killed in the middle.

Arguments: a folder with photos, a model, and a collection to make. Prints what happened as JSON at the end.
"""

# pyright: reportMissingImports=false
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from siglip2.search import ray_indexing
from siglip2.search.collection import Collection
from siglip2.search.indexing import FolderIndexer


def main(photos: Path, model: Path, place: Path) -> dict[str, object]:
    ray_indexing.BATCH = 8
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    killed: list[float] = []

    class Watched(ray_indexing.RayEmbedding):
        """Kills a worker when the first rows have come."""

        def __call__(self, files: Iterator) -> Iterator:
            for part in super().__call__(files):
                yield part
                if not killed:
                    cluster.remove_node(workers[0], allow_graceful=False)
                    killed.append(time.monotonic())

    with Collection.open(place, str(model)) as collection:
        elsewhere = Watched(str(cluster.address), collection.store, collection.model)
        indexer = FolderIndexer(
            collection.store, collection.model, lambda: collection.encoder, elsewhere=elsewhere
        )
        report = indexer.run([str(photos)])
        moved = photos.rename(photos.with_name("moved"))
        again = collection.add([moved], ray=cluster.address)
    ray.shutdown()
    cluster.shutdown()
    return {
        "killed": len(killed),
        "found": report.found,
        "embedded": report.embedded,
        "broken": [each.reason for each in report.broken],
        "again": [again.embedded, again.placed, len(again.broken)],
    }


if __name__ == "__main__":
    print(json.dumps(main(*(Path(argument) for argument in sys.argv[1:]))))
