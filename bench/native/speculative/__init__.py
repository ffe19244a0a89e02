"""Speculative decoding: tokens are drafted cheaply, and one step of the model verifies several of them.

What is generated has the distribution, and without temperature the very tokens, of the model alone. How many drafts
are accepted depends on the text: of prompts drawn at random there is nothing to guess, and of synthetic prompts that
repeat themselves far too much, so an acceptance length says something only about real text.
"""
