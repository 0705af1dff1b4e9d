"""Instances: the test of the whole way, and the QR code to connect the phone."""

from typing import Annotated

from fastapi import Path

from router.api.dependencies import TheDatabase, TheEvolution, TheLooks, TheSettings, TheTests
from router.api.instance_check import InstanceTest
from router.api.keyed import keyed
from router.api.models import InstanceCheck
from router.outbound.client import open_tenant_http
from router.state.calls.tenants import GetQrcode, QrCode
from router.state.calls.tenants import get_qrcode as last_qrcode

router = keyed("instances")
_Name = Annotated[str, Path(max_length=200, description="Evolution's name of the instance")]
_PATIENCE = 10.0  # seconds for each request of the test


@router.get("/instances/{name}/test-webhook", summary="Test an instance from end to end")
async def check_instance(
    name: _Name,
    database: TheDatabase,
    evolution: TheEvolution,
    settings: TheSettings,
    tests: TheTests,
    looks: TheLooks,
) -> InstanceCheck:
    """Names the step that fails, and the cure.

    Posts a marked probe to the URL that Evolution has stored, as Evolution would; sends nothing on
    WhatsApp.
    """
    async with open_tenant_http(settings, _PATIENCE) as http:
        test = InstanceTest(database, evolution, settings, http, tests, looks)
        return await test.run(name, trial=False)


@router.post(
    "/instances/{name}/test-webhook", summary="Test an instance, and PUBLIC_URL with a probe"
)
async def probe_instance(
    name: _Name,
    database: TheDatabase,
    evolution: TheEvolution,
    settings: TheSettings,
    tests: TheTests,
    looks: TheLooks,
) -> InstanceCheck:
    """Also posts a probe to PUBLIC_URL with the deployment's secret, as Evolution would."""
    async with open_tenant_http(settings, _PATIENCE) as http:
        test = InstanceTest(database, evolution, settings, http, tests, looks)
        return await test.run(name, trial=True)


@router.get("/instances/{name}/qrcode", summary="Get the last QR code")
async def get_qrcode(name: _Name, database: TheDatabase) -> QrCode:
    """404: there is none. The phone is connected, or Evolution has not sent one yet."""
    return await last_qrcode(database, GetQrcode(instance_name=name))
