"""A guard that lets one caller in, and keeps what was audited: the real one has tests of its own."""

from __future__ import annotations

from typing import Any

from fastapi import Form, HTTPException, Request

from gateway.web.guard import RIGHTS, Caller, Dependency, Right, Role

CSRF = "jeton-d-essai"


class OneCaller:
    """`Guard` for whoever asks, with the rights of a role."""

    def __init__(self, role: Role = Role.ADMINISTRATEUR) -> None:
        self.caller = Caller("dim", RIGHTS[role], CSRF, role)
        self.trace: list[tuple[str, str, dict[str, Any]]] = []

    def page(self, right: Right | None = None) -> Dependency:
        async def allowed(request: Request) -> Caller:
            if right and not self.caller.may(right):
                raise HTTPException(403)
            return self.caller

        return allowed

    def form(self, right: Right | None = None) -> Dependency:
        async def believed(request: Request, csrf: str = Form("")) -> Caller:
            if csrf != CSRF or (right and not self.caller.may(right)):
                raise HTTPException(403)
            return self.caller

        return believed  # type: ignore[return-value]

    def api(self, right: Right) -> Dependency:
        return self.page(right)

    async def audit(self, caller: Caller, action: str, subject: str = "", **details: Any) -> None:
        self.trace.append((action, subject, details))
