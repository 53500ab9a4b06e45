-- Searches that are drawn as mosaics, and pictures that were asked for once. Times are µs since 1970.

CREATE TABLE registered_searches(
  id TEXT PRIMARY KEY,               -- a digest of what follows: equal searches are one row
  search BLOB NOT NULL,              -- JSON, in one form
  metadata BLOB NOT NULL,            -- JSON
  created INTEGER NOT NULL,
  lastused INTEGER NOT NULL,
  usecount INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE static_images(
  id TEXT PRIMARY KEY,               -- a digest of collection and document
  collection_id TEXT NOT NULL,
  doc BLOB NOT NULL,                 -- what was asked for, JSON
  created INTEGER NOT NULL
);
CREATE INDEX static_images_collection ON static_images(collection_id);
