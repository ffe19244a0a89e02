"""What the turns mean: pure functions from the log's columns to the numbers of a record, each with its uncertainty."""
