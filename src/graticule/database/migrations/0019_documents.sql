-- Documents as they are read. SQLite keeps them packed from here on (graticule.database.packing); plain() is ours.
CREATE VIEW documents AS SELECT pk, plain(doc) AS doc FROM bodies;
