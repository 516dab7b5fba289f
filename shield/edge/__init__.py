"""The way to the clients: the HTTP/1.1 fast lane and the plain ASGI application."""
