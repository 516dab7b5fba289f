"""The heads of requests to one origin: the object, our own fields, and the signature."""

from __future__ import annotations

from collections.abc import Sequence

from shield.messages import Field
from shield.origin.signer import OURS, Signer
from shield.origin.want import Want
from shield.rules.loops import NAME as CDN_LOOP
from shield.rules.loops import Gateway

_REMEMBERED = 64  # clients' values of CDN-Loop are few


class RequestHeads:
    """Makes them. The fields of most requests to other servers are the same as those of others, and rendered once."""

    __slots__ = ("_gateway", "_is_named_apart", "_rendered", "_signer")

    def __init__(self, signer: Signer, gateway: Gateway | None) -> None:
        """`gateway` introduces us; None: to a storage we are a plain client."""
        self._signer = signer
        self._gateway = gateway
        self._is_named_apart = gateway is not None and gateway.naming not in OURS
        self._rendered: dict[bytes, bytes] = {}  # by CDN-Loop

    def of(self, want: Want, now: float) -> bytes:
        """A whole head. Raises OriginError while there are no credentials that it needs."""
        gateway, request = self._gateway, want.request
        is_plain = request is not None and not want.forwarded and want.span is None and not want.validators
        if gateway is None or request is None or not is_plain or not self._is_named_apart:
            return self._signer.head(want.method, want.path, now, self.fields(want), query=want.query)
        loops = request.get(CDN_LOOP)
        rendered = self._rendered.get(loops) or self._render(gateway, loops)
        return self._signer.plain_head(
            want.method, want.path, rendered + gateway.name_line(request), query=want.query
        )

    def fields(self, want: Want) -> Sequence[Field]:
        """The fields of a request besides the signer's."""
        fields = want.forwarded if want.span is None and not want.validators else want.fields()
        return fields if self._gateway is None else self._gateway.of(fields, want.request)

    def _render(self, gateway: Gateway, loops: bytes) -> bytes:
        """The fields of a request with this CDN-Loop and no others."""
        rendered = self._signer.rendered(gateway.introduced((), loops) if loops else gateway.alone)
        if len(self._rendered) >= _REMEMBERED:
            self._rendered.clear()
        self._rendered[loops] = rendered
        return rendered
