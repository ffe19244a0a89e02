"""Finding the schedule a kernel runs fastest with, keeping every measurement, and looking the winners up."""
