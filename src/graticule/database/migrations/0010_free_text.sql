-- Words of items, for the parameter q. An item without text has no rows here.

-- The text itself: folded words between single spaces, fields between line ends (see graticule.stac.free_text).
CREATE TABLE item_texts(pk INTEGER PRIMARY KEY, coll INT NOT NULL, text TEXT NOT NULL);

-- Which items have a word (its first 64 characters).
CREATE TABLE item_words(
  word TEXT NOT NULL,
  coll INT NOT NULL,
  pk INTEGER NOT NULL,
  PRIMARY KEY(word, coll, pk)
) WITHOUT ROWID;
