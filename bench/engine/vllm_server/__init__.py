"""vLLM as the server it is: started, watched, asked over HTTP and ended."""
