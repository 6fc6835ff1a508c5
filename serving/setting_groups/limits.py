"""Settings of limits: how often, how much, how many at once, how slowly."""

from pydantic import BaseModel, Field


class LimitsSettings(BaseModel):
    """What one process of the service takes before it says no; docs/guides/limits.md has the codes."""

    rate_per_s: float = Field(
        default=100, gt=0, description="Requests a second that one user or token may go on asking."
    )
    rate_burst: int = Field(default=1000, ge=1, description="Requests beyond that which may come at once.")
    stranger_rate_per_s: float = Field(
        default=5,
        gt=0,
        description="Requests a second from one address that no valid token or login comes with.",
    )
    stranger_burst: int = Field(default=200, ge=1, description="Such requests that may come at once.")
    max_requests: int = Field(
        default=64, ge=1, description="Requests that are answered at once; event streams count apart."
    )
    max_waiting: int = Field(
        default=256, ge=0, description="Requests beyond that which wait; more get 503 at once."
    )
    max_wait_s: float = Field(
        default=10, gt=0, description="Seconds that a request waits for its turn before it gets 503."
    )
    max_parts: int = Field(
        default=64, ge=1, description="Parts of uploads that are taken at once; they have their own places."
    )
    request_limit_s: float = Field(
        default=600,
        gt=0,
        description="Seconds from the last byte of a request to its answer; filing a large slide takes some.",
    )
    body_grace_s: float = Field(
        default=20, gt=0, description="Seconds that the body of a request may be behind the pace."
    )
    body_bytes_per_s: int = Field(
        default=16 * 2**10, ge=1, description="The slowest pace of a body; a slower one gets 408."
    )
    slow_reader_s: float = Field(
        default=60,
        gt=0,
        description="Seconds that whoever asked may leave a piece of the answer unread before it is dropped.",
    )
    max_streams: int = Field(
        default=1200, ge=0, description="Event streams that are open at once; more get 503."
    )
    max_streams_each: int = Field(
        default=50, ge=0, description="Event streams that one user or token may hold; more get 429."
    )
    stream_limit_s: float = Field(
        default=3600, gt=0, description="Seconds after which an event stream ends; who follows asks again."
    )

    @property
    def most_inside(self) -> int:
        """Requests that one process may hold in whatever state: the layers below have to let them all in."""
        turned_away_at_once = 64
        return (
            self.max_requests + self.max_parts + 2 * self.max_waiting + self.max_streams + turned_away_at_once
        )
