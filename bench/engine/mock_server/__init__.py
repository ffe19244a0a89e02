"""A deterministic server of OpenAI's API whose own times are the truth that clients are held to."""
