-- A document that fits a page is kept in its row: beside it, PostgreSQL cuts it into parts with an index of their own,
-- and each read and each write of a document goes through that index too. What is there already stays where it is.
/* postgresql: ALTER TABLE bodies ALTER COLUMN doc SET STORAGE MAIN; */
