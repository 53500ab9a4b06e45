-- Collections and items. Times are microseconds since 1970 UTC, coordinates 1e-7 degree. INT where 32 bits hold it.

CREATE TABLE collections(
  coll INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  container TEXT NOT NULL UNIQUE,   -- where its assets are kept
  doc BLOB NOT NULL,                -- the document, as it was given
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  deleting INTEGER NOT NULL DEFAULT 0
);

-- What is searched. The documents lie apart, so that these rows stay small.
CREATE TABLE items(
  pk INTEGER PRIMARY KEY,
  coll INT NOT NULL,
  cell INTEGER NOT NULL,            -- its cell in the loose grid; -1 without a geometry
  t INTEGER NOT NULL,               -- datetime, or start_datetime
  te INTEGER NOT NULL,              -- end_datetime, or t
  id TEXT NOT NULL,
  x0 INT, y0 INT, x1 INTEGER, y1 INT,  -- bounds of the geometry, rounded outward; x1 may pass 180 degrees
  cloud REAL,                       -- eo:cloud_cover
  platform TEXT,
  wkb BLOB                          -- the exact footprint
) /* postgresql: WITH (autovacuum_vacuum_insert_scale_factor = 0.01) */;
CREATE TABLE bodies(pk INTEGER PRIMARY KEY, doc BLOB NOT NULL);

-- Both search indexes cover the candidate statements; id is in both, because many items share one instant.
-- SQLite has the key in every index; elsewhere it is said, or the rows themselves would have to be read.
CREATE UNIQUE INDEX i_id ON items(coll, id);
CREATE INDEX i_cell ON items(coll, cell, t, id, te, x0, y0, x1, y1, cloud) /* postgresql: INCLUDE (pk) */;
CREATE INDEX i_time ON items(coll, t, id, te, x0, y0, x1, y1, cloud, platform) /* postgresql: INCLUDE (pk) */;
CREATE INDEX i_cloud ON items(coll, cloud, t, id, te, x0, y0, x1, y1) /* postgresql: INCLUDE (pk) */ WHERE cloud IS NOT NULL;
CREATE INDEX i_plat ON items(coll, platform, t, id);

-- Which cells exist, how many items each has, and a time range that holds them (it may be too wide after deletions).
CREATE TABLE grid(
  coll INT NOT NULL,
  cell INTEGER NOT NULL,
  n INTEGER NOT NULL,
  t0 INTEGER NOT NULL,              -- least t
  t1 INTEGER NOT NULL,              -- greatest te
  PRIMARY KEY(coll, cell)
) WITHOUT ROWID /* postgresql: WITH (fillfactor = 50) */;
CREATE TABLE collstat(
  coll INTEGER PRIMARY KEY,
  n INTEGER NOT NULL,
  t0 INTEGER NOT NULL,
  t1 INTEGER NOT NULL,
  maxdur INTEGER NOT NULL,          -- longest te - t
  levels INTEGER NOT NULL           -- bit mask of the grid levels that its items use
);
