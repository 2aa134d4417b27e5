"""Tables of a collection's SQLite file."""

VERSION = 1
"""Grows when a table changes; a file of another version is refused."""

# Paths are bytes: file names need not be valid text. Numbers of vectors grow and are the time in microseconds
# at least, so that none comes twice, not even where a backup was put back, and copies of the vectors can tell
# which ones they lack. Vectors are float32: half precision would change the order of near ties, and exact
# search promises the model's own order.
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS models (
    key INTEGER PRIMARY KEY, model_id TEXT NOT NULL, fingerprint TEXT NOT NULL UNIQUE,
    embed_dim INTEGER NOT NULL, logit_scale REAL NOT NULL, logit_bias REAL NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, text TEXT,
    width INTEGER, height INTEGER, taken_at TEXT, latitude REAL, longitude REAL, camera TEXT,
    columns TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS items_of_kind ON items(kind);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, item INTEGER NOT NULL REFERENCES items(id) ON DELETE CASCADE,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_of_item ON files(item);
CREATE TABLE IF NOT EXISTS broken (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
    number INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL REFERENCES models(key),
    item INTEGER NOT NULL REFERENCES items(id) ON DELETE CASCADE, vector BLOB NOT NULL, UNIQUE (item, model)
);
CREATE INDEX IF NOT EXISTS vectors_of_model ON vectors(model, number);
CREATE TRIGGER IF NOT EXISTS count_removed AFTER DELETE ON vectors
    BEGIN UPDATE models SET removed = removed + 1 WHERE key = old.model; END;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(name, text);
"""
