"""When it is asked: arrivals, and the driver that sends turns and logs what comes back."""
