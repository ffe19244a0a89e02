"""What the machine does in a second, measured: datasheets and drivers tell two nodes of one kind apart by nothing."""
