"""The line between an instance and WhatsApp: connected, lost, logged out, waiting for a QR scan."""

from loopback.evolution.chats import Json
from loopback.evolution.contents import ONE_PIXEL
from loopback.evolution.identifiers import javascript_date
from loopback.evolution.instance import Instance
from loopback.evolution.webhooks import Delivery


class Line:
    """Changes the connection of an instance, and reports it like Evolution 2.3.6."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def connects(self) -> Delivery:
        """Connect, or connect again: the states are connecting, then open."""
        self._update("connecting", 200)
        self._instance.qr = {"count": 0}
        return self._update("open", 200)

    def breaks(self, reason: int = 428) -> Delivery:
        """Lose the connection; sends fail with "Connection Closed" until `connects`."""
        return self._update("close", reason)

    def is_logged_out(self) -> Delivery:
        """Log out: the phone removes it from its linked devices."""
        self._status_closed()
        self._instance.emit("logout.instance", None)
        return self._update("close", 401)

    def is_removed(self) -> Delivery:
        """Have the instance deleted."""
        shop = self._instance
        shop.emit("remove.instance", None)
        named = {"instanceName": shop.name, "instanceId": shop.id}
        delivery = shop.emit("instance.delete", named)
        self.is_logged_out()
        return delivery

    def shows_qr(
        self, code: str = "2@loopback,AAA,BBB,CCC", pairing: str | None = None
    ) -> Delivery:
        """Show a new QR code."""
        shop = self._instance
        picture = f"data:image/png;base64,{ONE_PIXEL}"
        shown: Json = {"pairingCode": pairing, "code": code, "base64": picture}
        shop.qr = shown | {"count": shop.qr["count"] + 1}
        shop.state = "connecting"
        return shop.emit("qrcode.updated", {"qrcode": {"instance": shop.name} | shown})

    def gives_up_on_qr(self) -> Delivery:
        """Stop showing QR codes, because nobody scans them."""
        self._instance.state = "close"
        message = {"message": "QR code limit reached, please login again", "statusCode": 500}
        return self._instance.emit("qrcode.updated", message)

    def is_refused(self, reason: int = 500) -> Delivery:
        """Let WhatsApp refuse the connection."""
        return self._update("refused", reason)

    def _update(self, state: str, reason: int) -> Delivery:
        shop = self._instance
        with shop.program.changes.made():
            if state in ("connecting", "open"):
                shop.state = "open" if state == "open" else "connecting"
            else:
                shop.state = "close"
        if shop.state == "close":
            shop.socket.drop()
        data: Json = {"instance": shop.name}
        if state == "open":
            shop.is_known = True
            data |= {"wuid": shop.jid, "profileName": shop.profile, "profilePictureUrl": None}
        return shop.emit("connection.update", data | {"state": state, "statusReason": reason})

    def _status_closed(self) -> None:
        closed = {"instance": self._instance.name, "status": "closed"}
        closed["disconnectionAt"] = javascript_date(self._instance.program.now())
        error = '{"error":{"output":{"statusCode":401}}}'
        self._instance.emit(
            "status.instance",
            closed | {"disconnectionReasonCode": 401, "disconnectionObject": error},
        )
