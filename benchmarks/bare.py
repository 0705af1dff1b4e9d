"""The yardstick for ingest: a FastAPI endpoint that only parses the same JSON."""

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

app = FastAPI()


@app.post("/webhook/{instance_name}")
async def receive(request: Request, instance_name: str) -> JSONResponse:
    """Parse the body, and answer."""
    body = orjson.loads(await request.body())
    return JSONResponse({"status": "accepted", "event": body["event"], "instance": instance_name})
