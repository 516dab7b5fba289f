"""Pure decisions: no asyncio, clock, sockets, logging or settings. `now` is an argument, in epoch seconds."""
