-- Properties that collections declare as queryable, and an index of what their items have there.

CREATE TABLE queryable_names(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE queryables(
  coll INT NOT NULL,
  number INTEGER NOT NULL,          -- of its name
  declared INT NOT NULL,            -- 0: not any more, but its values are still being removed
  state INT NOT NULL,               -- of the index: 0 none, 1 being built, 2 whole, 3 being removed
  reached_t INTEGER,                -- being built: items from here on, newest first, are still to be read
  reached_id TEXT,
  read INTEGER NOT NULL DEFAULT 0,  -- and so many were
  PRIMARY KEY(coll, number)
) WITHOUT ROWID;
CREATE INDEX queryables_number ON queryables(number, coll);

-- What an item has under a declared name: one row of a kind that has an order, further rows beside it for other uses.
CREATE TABLE item_values(
  coll INT NOT NULL,
  number INTEGER NOT NULL,
  kind INT NOT NULL,                -- see graticule.catalog.values
  value REAL NOT NULL,              -- of numbers, truth values and times; else 0
  text TEXT NOT NULL,               -- of texts; else ''
  t INTEGER NOT NULL,               -- of the item, as are id and pk
  id TEXT NOT NULL,
  pk INTEGER NOT NULL,
  PRIMARY KEY(coll, number, kind, value, text, t, id) /* postgresql: INCLUDE (pk) */
) WITHOUT ROWID /* postgresql: WITH (autovacuum_vacuum_insert_scale_factor = 0.01) */;
CREATE INDEX i_value ON item_values(pk, number, kind, value, text);

-- Queryables from before this version: declared, without an index until they are written again.
INSERT INTO queryable_names(name) SELECT DISTINCT id FROM configuration_entries WHERE kind = 'queryable';
INSERT INTO queryables(coll, number, declared, state)
SELECT DISTINCT c.coll, n.number, 1, 0
FROM configuration_entries e JOIN collections c ON c.id = e.collection_id JOIN queryable_names n ON n.name = e.id
WHERE e.kind = 'queryable';
