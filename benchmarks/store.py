"""How long the store and the index take: rebuild, poll, enrolment, search.

    python -m benchmarks.store [--url postgresql+psycopg://…] [--speakers 100000]

Fills a database with centroids (the database must be empty; without --url a temporary SQLite
file serves), and prints medians in milliseconds, each also as a ratio to the bare matrix product
of one query with the gallery, so that runs on different machines can be compared.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

import numpy as np
from sqlalchemy import insert

from app.index import FaissIndex, Partition
from app.store import NewEnrollment, Repository, Vault, make_engine, upgrade
from app.store.sealing import embedding_bytes, of_centroid
from app.store.tables import Centroid, Gallery, Speaker

MODEL, DIM, BATCH = "benchmark@000000000000", 192, 5000


def voices(count: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill(repository: Repository, rows: np.ndarray) -> None:
    """Writes speakers and centroids straight into the tables: a benchmark may skip the enrolments."""
    now, vault = datetime.now(UTC), repository._vault
    data_keys = [vault.new_data_key() for _ in rows]
    sealed = [
        vault.seal(data_keys[k - 1], embedding_bytes(rows[k - 1]), of_centroid(k, MODEL))
        for k in range(1, len(rows) + 1)
    ]
    with repository._engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        connection.execute(insert(Gallery).values(tenant_id="default", model_id=MODEL, version=len(rows)))
        for start in range(0, len(rows), BATCH):
            keys = range(start + 1, min(start + BATCH, len(rows)) + 1)
            speaker = {
                "tenant_id": "default",
                "metadata": {},
                "created_at": now,
                "updated_at": now,
                "version": 1,
            }
            connection.execute(
                insert(Speaker.__table__),  # type: ignore[arg-type]
                [{"speaker_id": f"speaker-{key}", "data_key": data_keys[key - 1], **speaker} for key in keys],
            )
            centroid = {"tenant_id": "default", "model_id": MODEL, "speech_s": 5.0, "enrollments_count": 1}
            connection.execute(
                insert(Centroid),
                [{"speaker_key": k, "embedding": sealed[k - 1], "version": k, **centroid} for k in keys],
            )
    if repository._engine.dialect.name == "postgresql":
        with repository._engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")  # the server comes to it by itself, within a minute


def clock(work: Callable[[], object], times: int) -> float:
    """Median of several runs, in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e3)
    return median(taken)


def measure(repository: Repository, rows: np.ndarray) -> dict[str, float]:
    index, partition, count = FaissIndex(), Partition("default", MODEL), len(rows)
    clips = iter(range(10**6))

    def rebuild() -> None:
        news = repository.changes_since("default", MODEL, 0).changes
        index.clear(partition)
        keys = np.array([change.speaker_key for change in news])
        embeddings = [change.embedding for change in news if change.embedding is not None]
        index.upsert(partition, keys, np.stack(embeddings))

    def enroll() -> None:
        digest = hashlib.sha256(b"%d" % next(clips)).hexdigest()
        take = NewEnrollment(
            embedding=rows[0], speech_s=3.0, duration_s=3.5, quality=1.0, audio={}, audio_sha256=digest
        )
        repository.add_enrollments("default", f"new-{digest[:8]}", MODEL, [take])

    found = {"one query x the gallery (numpy)": clock(lambda: rows @ rows[0], 20)}
    found["read all centroids from SQL"] = clock(lambda: repository.changes_since("default", MODEL, 0), 3)
    found["rebuild the index from SQL"] = clock(rebuild, 3)
    found["upsert all into an empty index"] = clock(
        lambda: (index.clear(partition), index.upsert(partition, np.arange(1, count + 1), rows)), 3
    )
    found["search, top 5"] = clock(lambda: index.search(partition, rows[0], 5), 20)
    found["upsert one"] = clock(lambda: index.upsert(partition, np.array([7]), rows[6:7]), 20)
    found["poll without news"] = clock(lambda: repository.changes_since("default", MODEL, count), 100)
    found["re-read 5 candidates"] = clock(
        lambda: repository.centroids_by_key("default", MODEL, [1, 2, 3, 4, 5]), 100
    )
    found["enroll a new speaker"] = clock(enroll, 50)
    found["delete a speaker"] = clock(
        lambda: repository.delete_speaker("default", f"speaker-{next(clips)}"), 20
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url")
    parser.add_argument("--speakers", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/benchmark.db"
        upgrade(url)
        engine = make_engine(url)
        try:
            rows = voices(arguments.speakers)
            fill(Repository(engine, Vault(bytes(32))), rows)
            found = measure(Repository(engine, Vault(bytes(32))), rows)
        finally:
            engine.dispose()
    bare = next(iter(found.values()))
    for name, milliseconds in found.items():
        print(f"{name:34} {milliseconds:9.2f} ms {milliseconds / bare:9.1f} x")


if __name__ == "__main__":
    main()
