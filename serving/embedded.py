"""Ray and Serve in this process, loopback only: the service on one machine."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ultraread.errors import DataDirInUse, ExtraMissing, IntegrityFailed, ModelRefused, Unavailable
from ultraread.models.registry import ModelFolder
from ultraread.serving.alone import alone
from ultraread.serving.draining import draining_of
from ultraread.serving.insecure import refuse_insecure
from ultraread.serving.machine import check_memory, live_versions, machine_cpus, share_of_replica
from ultraread.serving.ray_ports import keep_ports_on_loopback, keep_token_private, refuse_without_token
from ultraread.serving.settings import Settings, prepare_folders

if TYPE_CHECKING:
    from ultraread.serving.model_registry import ModelRegistry
    from ultraread.serving.store.tables import ModelVersionRow

log = logging.getLogger(__name__)

APPLICATION = "ultraread"
SERVICE = ("ray", "fastapi", "sqlalchemy", "alembic", "mlflow")
RAY_TRIES = 3
RAY_IS_SLOW = "timed out during startup"
ASK_AGAIN_S = 5
LOCK = "service.lock"
"""In the data folder: held while a service works there."""
OBJECT_STORE_BYTES = 200 * 2**20
"""Scores of a few ranges travel through it; pixels never do."""


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """Start Ray and the application, yield its URL, stop both.

    Raises ConfigInsecure, MachineTooSmall, DataDirInUse, ModelRefused, ExtraMissing or Unavailable before
    anything starts.
    """
    require_service()
    refuse_without_token()
    keep_ports_on_loopback()
    refuse_insecure(settings)
    share_of_replica(settings)
    check_memory(settings)
    port = settings.port or _free_port(settings.host)
    _refuse_taken_port(settings.host, port)
    with alone_in_data_dir(settings), _running_alone(settings, port) as url:
        yield url


def alone_in_data_dir(settings: Settings) -> AbstractContextManager[None]:
    """Two services would stop each other. Raises DataDirInUse."""
    prepare_folders(settings)
    return alone(settings.data_dir / LOCK, DataDirInUse("another service works in this data folder"))


@contextmanager
def _running_alone(settings: Settings, port: int) -> Iterator[str]:
    models = prove_models(settings)
    prepare_environment()
    keep_token_private()
    import ray

    from ultraread.serving.logs import logging_into

    with logging_into(settings.log_plan, "serve"):
        _start_ray(settings)
        try:
            deploy(settings, models, {"host": settings.host, "port": port})
            yield f"http://{settings.host}:{port}"
        finally:
            try:
                drain(settings)
            finally:
                ray.shutdown()


def _start_ray(settings: Settings) -> None:
    """Raises Unavailable: what keeps Ray from starting is of many kinds, and told in its own words alone.

    Ray gives its own processes 30 s to come up; a machine that is busy for a while needs more.
    """
    import ray

    for attempt in range(RAY_TRIES):
        try:
            ray.init(
                address="local",
                num_cpus=machine_cpus(settings),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.WARNING,
                log_to_driver=False,
                runtime_env=environment_of_workers(settings),
            )
            return
        except Exception as failure:
            ray.shutdown()
            if attempt + 1 == RAY_TRIES or RAY_IS_SLOW not in str(failure):
                told = f"Ray does not start on this machine: {failure}"
                raise Unavailable(told, "It may be too busy, or short of memory: try again.") from failure
            log.warning("Ray did not come up in time; it is started again")


def deploy(settings: Settings, models: list[ModelFolder], http: dict[str, Any], **options: Any) -> None:  # noqa: ANN401
    """Start Serve and all applications in the Ray that this process is connected to; return when they run."""
    from ray import serve

    from ultraread.serving.application import build, classifier
    from ultraread.serving.live_models import application_of

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    draining_of(settings).end()
    serve.start(http_options=http, **options)
    classifiers = [
        serve.RunTarget(classifier(model, settings), application_of(model.card.ref), route_prefix=None)
        for model in models
    ]
    serve.run_many([serve.RunTarget(build(settings), APPLICATION, "/"), *classifiers])


def drain(settings: Settings) -> None:
    """Hand back reads, finish what is under way, and stop all but the classifiers; within the grace.

    Where that is cut short, the service goes on saying that it drains, until its next start: whoever stopped
    taking reads does not begin again.
    """
    from ray import serve

    draining = draining_of(settings)
    draining.begin()
    wait_until_handed_back(settings)
    serve.delete(APPLICATION)
    draining.end()


def environment_of_workers(settings: Settings) -> dict[str, Any]:
    """What Ray shall do in each process that it starts for us."""
    hook = "ultraread.serving.embedded.set_up_worker"
    return {"worker_process_setup_hook": hook, "env_vars": settings.log_plan.to_environment()}


def wait_until_handed_back(settings: Settings) -> None:
    """Return when no runner holds a read any more, or after the grace, or where the store is away."""
    from ultraread.serving.store.engine import open_store
    from ultraread.serving.store.facts import held

    until = time.monotonic() + settings.grace_s
    with suppress(Unavailable):
        store = open_store(settings.database_address)
        while held(store) and time.monotonic() < until:
            time.sleep(0.1)
        store.close()


def set_up_worker() -> None:
    """Run by Ray in each of its processes."""
    from ultraread.serving.logs import set_up_worker as set_up_logs

    set_up_logs()
    keep_replicas_to_loopback()
    let_the_proxy_ask_for_patience()


def keep_replicas_to_loopback() -> None:
    """Serve opens a port for calls between replicas on every interface.

    Nothing here uses that port (Serve's default is calls through Ray), and it takes no token.
    """
    replica: Any = import_module("ray.serve._private.replica")
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _everywhere: bind(server, "127.0.0.1:0")


def let_the_proxy_ask_for_patience() -> None:
    """While no application is there, Serve's proxy says 404 to all: a sender would take its upload for gone.

    Ours answers for every address, so where it is not there the service starts or stops: 503, ask again.
    """
    proxy: Any = import_module("ray.serve._private.proxy")
    proxy.HTTPProxy.not_found_response = _ask_again


async def _ask_again(_proxy: object, _request: object) -> AsyncIterator[Any]:
    from ray.serve._private.http_util import ResponseStatus  # type: ignore[attr-defined]

    from ultraread.serving.api.problems import problem

    away = Unavailable("the service starts or stops", "Ask again in a few seconds.")
    answer = problem(away, {"Retry-After": str(ASK_AGAIN_S)})
    yield {"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
    yield {"type": "http.response.body", "body": answer.body}
    yield ResponseStatus(code=str(answer.status_code), is_error=True)


def require_service() -> None:
    """Raise ExtraMissing where a library of the `serve` extra is not installed."""
    missing = [name for name in SERVICE if find_spec(name) is None]
    if missing:
        raise ExtraMissing(f"the service needs {', '.join(missing)}", 'pip install "ultraread[serve]"')


def wait_for_stop() -> None:
    """Return at Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def prove_models(settings: Settings) -> list[ModelFolder]:
    """Register the models of the settings; return what the registry says is to be live, loaded once here.

    A replica that refuses its model could only die, again and again.
    """
    from ultraread.serving.audit.checkpoints import signer_of
    from ultraread.serving.live_models import versions_to_start_with
    from ultraread.serving.model_files import prove_here
    from ultraread.serving.model_registry import open_registry, serve_models
    from ultraread.serving.store.engine import open_store

    signer_of(settings)
    store = open_store(settings.database_address)
    try:
        registry = open_registry(settings, store)
        named = {model.card.ref for model in serve_models(settings, registry, prove_here)}
        proved = [_proved(registry, row, row.ref in named) for row in versions_to_start_with(registry)]
        return [model for model in proved if model][: live_versions(settings)]
    finally:
        store.close()


def _proved(registry: "ModelRegistry", row: "ModelVersionRow", is_named: bool) -> ModelFolder | None:
    """The version as it runs here; one that does not load gives its aliases back and stops no other one.

    Raises where the settings name the version: to start without it would be something else than was asked.
    """
    from ultraread.models.classifier import fitting
    from ultraread.serving.model_files import prove_here

    try:
        model = fitting(registry.files.open(row))
        prove_here(model)
    except (ModelRefused, IntegrityFailed) as damage:
        if is_named:
            raise
        log.error("%s does not load: %s", row.ref, damage.code)
        registry.give_up(row, damage)
        return None
    return model


def prepare_environment() -> None:
    """What Ray reads when it is imported: report nothing, warn of no default."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # the default; stated, Ray does not warn of it


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _refuse_taken_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as failure:
            remedy = "Use the service that listens there, or choose another with --port."
            raise Unavailable(f"port {port} is taken", remedy) from failure
