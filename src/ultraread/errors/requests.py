"""Requests that are not answered as asked: who asks, what is asked for, how much and how often."""

from typing import ClassVar

from ultraread.errors.root import UltraReadError


class RequestInvalid(UltraReadError):
    """The command or request is not one that UltraRead knows."""

    code = "request_invalid"
    http_status = 422
    exit_status = 2
    remedy = "Correct the request; --help and /v1/openapi.json show what is taken."


class LinkInvalid(RequestInvalid):
    """A link that does not lead from a region of the slide to a grid or field of its case."""

    code = "link_invalid"
    remedy = "Name a region inside the image, and a grid or image of the same case that does not lead back."


class PreconditionRequired(UltraReadError):
    """A change that does not say which revision it changes."""

    code = "precondition_required"
    http_status = 428
    exit_status = 2
    remedy = "Get it again and send its ETag as If-Match."


class PreconditionFailed(UltraReadError):
    """Somebody changed it since."""

    code = "precondition_failed"
    http_status = 412
    exit_status = 2
    remedy = "Get it again, look at what changed, and send the change with the new ETag."


class AnsweredAlready(UltraReadError):
    """A consultation is answered once."""

    code = "answered_already"
    http_status = 409
    exit_status = 2
    remedy = "Add a new consultation."


class OriginRefused(UltraReadError):
    """A web page of another site sent the request."""

    code = "origin_refused"
    http_status = 403
    exit_status = 2
    remedy = "Ask from the service's own address, or name its reverse proxy in setting proxied_hosts."


class AuthRequired(UltraReadError):
    """Nobody said who asks."""

    code = "auth_required"
    http_status = 401
    exit_status = 2
    remedy = (
        "Give a token (ULTRAREAD_TOKEN, or --token-file: of a service of yours, DATA_DIR/owner.token), "
        "or log in at /login."
    )
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="ultraread"'}


class AuthInvalid(AuthRequired):
    """The token, login or session counts for nothing."""

    code = "auth_invalid"
    remedy = (
        "Ask an administrator of your site for a new token, or log in again; of a service of yours, "
        "show DATA_DIR/owner.token."
    )
    headers: ClassVar[dict[str, str]] = {
        "WWW-Authenticate": 'Bearer realm="ultraread", error="invalid_token"'
    }


class AuthForbidden(UltraReadError):
    """Roles or scopes of who asks do not reach this far."""

    code = "auth_forbidden"
    http_status = 403
    exit_status = 2
    remedy = "Ask an administrator of your site for the role; docs/guides/access.md has the table."


class AuthCsrf(UltraReadError):
    """A change under a browser's session did not say the session's token."""

    code = "auth_csrf"
    http_status = 403
    exit_status = 2
    remedy = "Send `csrf_token` of GET /v1/session as X-CSRF-Token."


class SessionLocked(UltraReadError):
    """Nothing was asked for so long that the session is locked."""

    code = "session_locked"
    http_status = 423
    exit_status = 2
    remedy = "Unlock it: log in again, or send a token of the same person to /v1/session/unlock."


class LoginNotOffered(UltraReadError):
    """The service knows no provider of logins."""

    code = "login_not_offered"
    http_status = 404
    exit_status = 2
    remedy = "Set oidc_issuer, or exchange a token for a session at POST /v1/session."


class NotFound(UltraReadError):
    """No such case, slide, record, read or upload."""

    code = "not_found"
    http_status = 404
    exit_status = 2
    remedy = "Check the id."


class StorageExpired(NotFound):
    """Its files were removed when their time was over; record and digests stay."""

    code = "storage_expired"
    http_status = 410
    remedy = "The audit trail and `ultraread storage ls` tell when and why; a backup may still hold it."


class RateLimited(UltraReadError):
    """Too many requests in too short a time."""

    code = "rate_limited"
    http_status = 429
    exit_status = 6
    remedy = "Ask again after the seconds of Retry-After; docs/guides/limits.md has the rates."

    def __init__(self, what: str, remedy: str = "", retry_after_s: int = 1) -> None:
        super().__init__(what, remedy)
        self.headers = {"Retry-After": str(retry_after_s)}


class StreamLimit(RateLimited):
    """Who asks has too many event streams open."""

    code = "stream_limit"
    remedy = "Close some of them, or ask for GET /v1/reads/{id} now and then."


class UploadTimeout(UltraReadError):
    """The body of the request came too slowly, or not at all."""

    code = "upload_timeout"
    http_status = 408
    exit_status = 6
    remedy = "Send it again, in smaller parts where the line is slow."


class UploadConflict(UltraReadError):
    """Other bytes are there already, or the upload was announced with another size or digest."""

    code = "upload_offset_conflict"
    http_status = 409
    exit_status = 6
    remedy = "Ask GET /v1/uploads/{id} what is there and what is missing, or open a new upload."


class UploadExpired(NotFound):
    """No part came for too long; what was there is thrown away."""

    code = "upload_expired"
    http_status = 410
    remedy = "Open a new upload."


class QuotaExceeded(UltraReadError):
    """The site has too much on its way in."""

    code = "quota_exceeded"
    http_status = 429
    exit_status = 6
    remedy = "File or delete what is uploaded, or wait until it expires; your operator sets the quota."
    headers: ClassVar = {"Retry-After": "60"}


class UploadChecksumMismatch(UltraReadError):
    """The bytes received are not those that were sent."""

    code = "upload_checksum_mismatch"
    http_status = 422
    exit_status = 7
    remedy = "Send the part again."


class UploadTooLarge(UltraReadError):
    """More bytes than were announced, or than the service takes."""

    code = "upload_too_large"
    http_status = 413
    exit_status = 3
    remedy = "Announce the file's true size."


class WebhookNotTold(UltraReadError):
    """The receiver of a webhook did not take a message."""

    code = "webhook_not_told"
    http_status = 502
    exit_status = 6
    remedy = (
        "Look at the receiver; it has to answer with a 2xx status within ten seconds, and not to redirect."
    )


class MethodNotAllowed(UltraReadError):
    """The address exists, but does not take this method."""

    code = "method_not_allowed"
    http_status = 405
    exit_status = 2
    remedy = "/v1/openapi.json shows what each address takes."


class CaseExists(UltraReadError):
    """A case of that id is there already."""

    code = "case_exists"
    http_status = 409
    exit_status = 2
    remedy = "Use it, or choose another id."


class IdempotencyConflict(UltraReadError):
    """An Idempotency-Key that belongs to another request."""

    code = "idempotency_conflict"
    http_status = 422
    exit_status = 2
    remedy = "Use a new Idempotency-Key for a new request."


class IdempotencyRunning(UltraReadError):
    """The first request with this Idempotency-Key has no answer yet."""

    code = "idempotency_running"
    http_status = 409
    exit_status = 6
    remedy = "Send it again in a moment."


class TokenShownBefore(UltraReadError):
    """The token of this Idempotency-Key was made, and shown by the first answer alone."""

    code = "token_shown_before"
    http_status = 409
    exit_status = 2
    remedy = "Where that answer was lost, revoke the token and ask under a new Idempotency-Key."


class ReadNotFinished(UltraReadError):
    """The read has no result yet, or will have none."""

    code = "read_not_finished"
    http_status = 409
    exit_status = 6
    remedy = "Wait until GET /v1/reads/{id} says succeeded or partial."


class ViewRequestInvalid(RequestInvalid):
    """No picture can be meant by this address or these parameters."""

    code = "view_request_invalid"
    http_status = 400
    remedy = "Correct the address; docs/guides/viewing.md shows what is taken."


class ViewTooLarge(RequestInvalid):
    """The picture is too large, or needs too many pixels of the file."""

    code = "view_too_large"
    http_status = 400
    remedy = "Ask for a smaller region; `ultraread convert` writes the smaller levels that a slide lacks."


class ViewNotOffered(RequestInvalid):
    """IIIF leaves this to the server, and it is not offered here."""

    code = "view_not_offered"
    http_status = 501
    remedy = "Ask for what level 2 of the IIIF Image API 3.0 demands."
