"""Program 1: streams trades, quotes and books from venues into the database. Imports nothing of program 2."""
