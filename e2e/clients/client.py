"""Talks to the echo server at argv[1] with websockets."""
import asyncio
import sys

import websockets


async def main(url):
    async with websockets.connect(url, max_size=None) as ws:
        await ws.send("héllo €")
        assert await ws.recv() == "héllo €"
        print("text")
        data = bytes(range(256)) * 4096
        await ws.send(data)
        assert await ws.recv() == data
        print("binary")
        await ws.send(["Hel", "", "lo"])
        assert await ws.recv() == "Hello"
        print("fragments")
        await (await ws.ping(b"payload"))
        print("ping")
        await ws.close(3000, "bye")
        assert ws.close_code == 3000, ws.close_code
        print("close")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 30))
