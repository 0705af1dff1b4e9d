"""Instances: whether the whole way works, and the QR code to connect the phone."""

from typing import Annotated

from fastapi import APIRouter, Path

from router.api.dependencies import TheDatabase, TheEvolution, TheSettings, TheTests
from router.api.instance_check import InstanceTest
from router.api.models import InstanceCheck
from router.outbound.client import open_tenant_http
from router.state.calls.tenants import GetQrcode, QrCodeShown
from router.state.calls.tenants import get_qrcode as last_qrcode

router = APIRouter(tags=["instances"])
_Name = Annotated[str, Path(max_length=200, description="Evolution's name of the instance")]
_PATIENCE = 10.0  # seconds for each request of the test


@router.get("/instances/{name}/test-webhook", summary="Test the whole way of an instance")
async def look_at_instance(
    name: _Name,
    database: TheDatabase,
    evolution: TheEvolution,
    settings: TheSettings,
    tests: TheTests,
) -> InstanceCheck:
    """Say which step fails, and its cure.

    Posts a marked probe to the URL that Evolution has stored, as Evolution would; sends nothing on
    WhatsApp.
    """
    async with open_tenant_http(settings, _PATIENCE) as http:
        return await InstanceTest(database, evolution, settings, http, tests).run(name, trial=False)


@router.post("/instances/{name}/test-webhook", summary="The same, and send an event through")
async def try_instance(
    name: _Name,
    database: TheDatabase,
    evolution: TheEvolution,
    settings: TheSettings,
    tests: TheTests,
) -> InstanceCheck:
    """Also post a probe to PUBLIC_URL with the deployment's secret, as Evolution would."""
    async with open_tenant_http(settings, _PATIENCE) as http:
        return await InstanceTest(database, evolution, settings, http, tests).run(name, trial=True)


@router.get("/instances/{name}/qrcode", summary="The QR code that Evolution last sent")
async def get_qrcode(name: _Name, database: TheDatabase) -> QrCodeShown:
    """404 where there is none: the phone is connected, or Evolution has sent none yet."""
    return await last_qrcode(database, GetQrcode(instance_name=name))
