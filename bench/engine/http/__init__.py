"""An HTTP/1.1 client that stamps what arrives and reads it later."""
