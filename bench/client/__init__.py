"""Who sends a case's turns: a client in this process, or several in processes of their own with one schedule."""
