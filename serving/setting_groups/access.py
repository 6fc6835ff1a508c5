"""Settings of access: first token, login, sessions of browsers."""

from pydantic import BaseModel, Field


class AccessSettings(BaseModel):
    """Who may come in, and for how long."""

    owner_token: bool = Field(
        default=True,
        description="Whether the service writes a token with all roles at site main into "
        "data_dir/owner.token, for its owner alone, where there is none. Off in profile cluster, unless "
        "stated.",
    )
