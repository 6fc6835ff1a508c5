"""The service on a running Ray cluster: what it needs there, how it gets there, and how it is stopped."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ultraread.errors import ConfigIncomplete, RequestInvalid, Unavailable
from ultraread.serving.embedded import (
    APPLICATION,
    alone_in_data_dir,
    deploy,
    drain,
    environment_of_workers,
    prepare_environment,
    prove_models,
    require_service,
)
from ultraread.serving.insecure import refuse_insecure
from ultraread.serving.ray_ports import refuse_open_cluster, refuse_without_token
from ultraread.serving.settings import Settings
from ultraread.serving.shared_folder import refuse_unless_shared

log = logging.getLogger(__name__)

REMOTE = "s3://"


def refuse_incomplete(settings: Settings) -> None:
    """Raise ConfigIncomplete, naming everything that only one node could reach."""
    lacking = [
        told
        for told, is_lacking in (
            ("ray_address", settings.ray_address is None),
            ("database_url of a PostgreSQL server", not settings.database_address.startswith("postgresql")),
            ("slides_url in s3://", not settings.slides_place.startswith(REMOTE)),
            (
                "second_copy_url in s3://",
                settings.second_copy_url is not None and not settings.second_copy_url.startswith(REMOTE),
            ),
            ("mlflow_url", settings.mlflow_url is None),
            ("a port that is stated", settings.port == 0),
        )
        if is_lacking
    ]
    if lacking:
        raise ConfigIncomplete(f"profile cluster needs {', '.join(lacking)}")


def deploy_on_cluster(settings: Settings) -> str:
    """Deploy, or renew what is deployed, and leave it running; return where every node answers.

    Raises ConfigIncomplete, ConfigInsecure, DataDirInUse, DataDirNotShared, ModelRefused, Unavailable.
    """
    refuse_incomplete(settings)
    require_service()
    refuse_insecure(settings)
    refuse_without_token()
    refuse_open_cluster(settings.ray_address or "")
    with alone_in_data_dir(settings), _connected(settings):
        nodes = refuse_unless_shared(settings)
        log.info("%d nodes share the data folder", nodes)
        http = {"host": settings.host, "port": settings.port}
        deploy(settings, prove_models(settings), http, proxy_location="EveryNode")
    return f"http://{settings.host}:{settings.port}"


def stop_on_cluster(settings: Settings) -> None:
    """Drain, and remove all applications of the service; the cluster stays."""
    refuse_incomplete(settings)
    with _connected(settings):
        from ray import serve

        from ultraread.serving.live_models import MODEL

        there = serve.status().applications
        if APPLICATION in there:
            drain(settings)
        for name in there:
            if name.startswith(MODEL):
                serve.delete(name)


@contextmanager
def _connected(settings: Settings) -> Iterator[None]:
    prepare_environment()
    import ray

    from ultraread.serving.logs import logging_into

    if settings.profile != "cluster":
        raise RequestInvalid("this is for profile cluster", "On one machine, Ctrl-C stops `ultraread serve`.")
    with logging_into(settings.log_plan, "deploy"):
        try:
            ray.init(
                address=settings.ray_address,
                logging_level=logging.WARNING,
                log_to_driver=False,
                runtime_env=environment_of_workers(settings),
            )
        except (ConnectionError, RuntimeError) as failure:
            raise Unavailable(
                f"the Ray cluster does not take this process ({type(failure).__name__})",
                "Run it on a node of the cluster; see ray_address.",
            ) from failure
        try:
            yield
        finally:
            ray.shutdown()
