"""The machine a case runs on: what it is, what it draws and how it fares."""
