-- What the items of a collection are as a whole: their extent and the summaries of their properties.

-- Of every item, what the whole is made of: [x0, y0, x1, y1, t, te, {property: value}].
CREATE TABLE item_facts(
  coll INTEGER NOT NULL,
  pk INTEGER NOT NULL,
  facts BLOB NOT NULL,
  PRIMARY KEY(coll, pk)
) WITHOUT ROWID;

CREATE TABLE collection_facts(
  coll INTEGER NOT NULL PRIMARY KEY,
  keys BLOB,                           -- {property: "values" or "range"}; null: still to be taken from the document
  whole BLOB NOT NULL,                 -- `catalog.wholes.Whole` as JSON
  stale INTEGER NOT NULL DEFAULT 0,    -- a removal touched: 1 the time, 2 something else; whole is too wide, never too narrow
  told INTEGER NOT NULL DEFAULT 0,     -- a job knows of it
  rebuild INTEGER NOT NULL DEFAULT 0,  -- facts are to be made anew: 1 the keys changed, 2 there are none yet
  run INTEGER,                         -- the refresh that is under way
  since BLOB                           -- what was added since it began
);
-- Items that were there before: a worker makes their facts.
INSERT INTO collection_facts(coll, whole, rebuild) SELECT coll, CAST('{}' AS BLOB), 2 FROM collstat;
