"""What providers ask: dated offers read from files, and the cash and hours a contract fixes."""
