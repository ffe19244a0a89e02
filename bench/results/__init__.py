"""What is kept of a run: a folder of tables and one record, written so that nothing is lost and anyone can check it."""
