"""Ray's ports take orders from whoever shows its token, and from everybody where it wants none."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ultraread.errors import ConfigRayExposed, Unavailable
from ultraread.serving.setting_groups.secret_file import OTHERS, is_for_others, made_secret

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
WITH_TLS = "RAY_USE_TLS"
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Named for systems where Ray is never a cluster; 0 gives every port of every process to loopback."""
PROBE = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
"""Asked of Ray's head without a token: which nodes there are."""
PROBE_S = 10.0


def refuse_without_token(environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigRayExposed where this process would start or join a Ray that wants no token.

    The token's own file is for its owner alone, or it is none.
    """
    if environment.get(MODE, "token").lower() != "token":
        raise ConfigRayExposed(f"{MODE} is not token: Ray's ports take orders from anybody", "Unset it.")
    stated = environment.get(TOKEN_FILE)
    if stated and is_for_others(Path(stated)):
        raise ConfigRayExposed(f"others may read the file of {TOKEN_FILE}", "chmod 600 it.")


def keep_ports_on_loopback() -> None:
    """Have Ray open no port to other machines; it decides that once, where it is imported.

    Raises ConfigRayExposed where this process has imported it already without being told.
    """
    if "ray" in sys.modules and os.environ.get(ONE_MACHINE) != "0":
        raise ConfigRayExposed(
            "Ray was imported before the service starts: its ports would be open to other machines",
            f"Set {ONE_MACHINE}=0 before that import.",
        )
    os.environ[ONE_MACHINE] = "0"


def keep_token_private(environment: Mapping[str, str] = os.environ) -> None:
    """Make the token that Ray looks for where none is stated: Ray would let everybody read its file.

    Raises ConfigRayExposed where no private file can be kept.
    """
    if TOKEN in environment or TOKEN_FILE in environment:
        return
    file = Path.home() / ".ray" / "auth_token"
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        if is_for_others(made_secret(file)):
            file.chmod(file.stat().st_mode & ~OTHERS)
    except OSError as failure:
        remedy = f"Give the service's user a home folder, or name a private file in {TOKEN_FILE}."
        raise ConfigRayExposed(
            f"Ray's token cannot be kept private ({failure.strerror})", remedy
        ) from failure


def refuse_open_cluster(address: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigRayExposed where the cluster's head answers without a token; Unavailable where it is away.

    With TLS, Ray's own kind, the head answers nobody who has no certificate of the cluster.
    """
    if environment.get(WITH_TLS, "0") not in {"0", ""}:
        return
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(PROBE)(b"", timeout=PROBE_S)
        except grpc.RpcError as refused:
            if refused.code() == grpc.StatusCode.UNAUTHENTICATED:
                return
            told = f"no head of a Ray cluster answers at ray_address ({refused.code().name})"
            raise Unavailable(told, "Start the cluster, or correct ray_address (host:port).") from refused
    raise ConfigRayExposed("the Ray cluster takes orders from anybody: its nodes were started without tokens")
