"""The Ray Serve applications: thin wrappers around the stages; everything that thinks is elsewhere.

One application holds ingress (HTTP), aggregator, read runner and outbox sender. Each live model version has
its own, so that versions come and go while the rest stays untouched. They meet in the store: the ingress
writes reads into it, the runner finds them there.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.handle import DeploymentHandle

from ultraread.datasets.tile_stream import stream
from ultraread.errors import UltraReadError, Unavailable
from ultraread.models.registry import ModelFolder
from ultraread.serving import logs, metrics
from ultraread.serving.audit.checkpoints import open_checkpointer
from ultraread.serving.conclusion import ReadToConclude, conclude_read
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.draining import draining_of
from ultraread.serving.live_models import MODEL, LiveModels, ServedModel, application_of, ref_of
from ultraread.serving.machine import SUPPORT_CPUS, Share, live_versions, share_of_replica
from ultraread.serving.mlflow_log import OutboxSender
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.model_mirror import ModelMirror
from ultraread.serving.model_registry import open_registry
from ultraread.serving.outgoing import outgoing
from ultraread.serving.presence import Presence
from ultraread.serving.queue_upkeep import QueueUpkeep
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import SCORED, RangeScorer, RangeScores, RangeTask
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.shadow import ShadowRunner
from ultraread.serving.shared_folder import installation_id, refuse_another_folder
from ultraread.serving.storage.house import House
from ultraread.serving.storage.upkeep import upkeep
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import EndState, Jobs, ReadResult

log = logging.getLogger(__name__)

Handle = DeploymentHandle[Any]

ATTEMPTS_A_RANGE = 5
"""A range is tried again on another replica when its replica dies; more deaths than this end the read."""
WAIT_AFTER_OUTAGE_S = 5.0
UPKEEP_S = 5.0
"""Seconds between looks for a copy that waits or was not read for long."""
START_S = 120.0
"""A classifier that does not answer after this long is given up: no read shall wait for ever."""
CONSTRUCTOR_TRIES = 3
SUPPORT = {"num_cpus": SUPPORT_CPUS}
MOST_REQUESTS = 2000
"""At once, streams of events included; the API itself sheds long before."""
LOOK_S = 0.1
"""Seconds between looks whether the service drains."""
HURRY_S = 5.0
"""Seconds beyond grace_s after which Serve kills what is still there."""


class Ingress:
    """HTTP. The other deployments are bound here so that they belong to the application."""

    def __init__(self, settings: Settings, installation: str, *_others: Handle) -> None:
        logs.set_up_deployment("Ingress")
        refuse_another_folder(settings, installation)
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:  # the name is Ray's
        from ultraread.serving.api.app import create_api

        return create_api(self._settings)


class TileClassifier:
    """Scores ranges, one at a time; a second one may wait so that no core does."""

    def __init__(self, model: ModelFolder, share: Share, settings: Settings) -> None:
        from ultraread.models.classifier import OnnxClassifier

        logs.set_up_deployment("TileClassifier")
        self._presence = Presence(open_store(settings.database_address), "TileClassifier").begin()
        classify = OnnxClassifier(model, share.threads)
        self._score = RangeScorer(classify, decoding=DecodingPool(settings.decode_limits))
        self._one = ThreadPoolExecutor(1, thread_name_prefix="score")

    async def score(self, task: RangeTask) -> RangeScores:
        return await asyncio.get_running_loop().run_in_executor(self._one, self._score, task)

    def __del__(self) -> None:
        self._presence.leave()


class Aggregator:
    """Writes result folders."""

    def __init__(self) -> None:
        logs.set_up_deployment("Aggregator")

    async def conclude(self, read: ReadToConclude) -> tuple[EndState, ReadResult]:
        return await asyncio.to_thread(conclude_read, read)


class Runner:
    """Takes reads from the queue, as many as may run at once.

    It keeps the models live that they need, or asks the keeper for them where there are several runners.
    """

    def __init__(
        self, settings: Settings, installation: str, aggregator: Handle, keeper: Handle | None = None
    ) -> None:
        logs.set_up_deployment("Runner")
        refuse_another_folder(settings, installation)
        store = open_store(settings.database_address)
        stop, decoding = threading.Event(), DecodingPool(settings.decode_limits)
        kept = _Kept(settings, store, decoding) if keeper is None else None
        take_model = kept.live.take if kept else _AskedOfKeeper(keeper, settings.replicas)
        runner = ReadRunner(
            settings=settings,
            jobs=Jobs(
                store,
                settings.lease_s,
                settings.max_attempts,
                settings.shadow_fraction,
                settings.retention_days,
                settings.routine_waits_s,
            ),
            take_model=take_model,
            conclude=lambda read: _concluded(aggregator, read),
            owner=f"runner-{os.getpid()}-{new_id()}",
            open_one=decoding.open,
            quarantine=open_registry(settings, store).quarantine,
            stop=stop,
        )
        presence = Presence(store, "Runner", kept.live.refs if kept else None)
        steps = [*[runner.run_next] * settings.max_running_reads, *(kept.steps if kept else [])]
        self._work = _Work(settings, presence, steps, stop)

    def __del__(self) -> None:
        self._work.end()


class Keeper:
    """Keeps models live for several runners: one process that starts and stops versions."""

    def __init__(self, settings: Settings, installation: str) -> None:
        logs.set_up_deployment("Keeper")
        refuse_another_folder(settings, installation)
        store = open_store(settings.database_address)
        kept = _Kept(settings, store, DecodingPool(settings.decode_limits))
        self._take = kept.live.take
        self._work = _Work(settings, Presence(store, "Keeper", kept.live.refs), kept.steps)

    async def take(self, name: str, version: str) -> ModelFolder:
        """The version, once its classifiers answer."""
        served = await asyncio.to_thread(self._take, name, version)
        return served.model

    def __del__(self) -> None:
        self._work.end()


class Outbox:
    """What nobody waits for: tells MLflow and webhooks, delivers results, keeps copies, signs the trail."""

    def __init__(self, settings: Settings) -> None:
        logs.set_up_deployment("Outbox")
        store = open_store(settings.database_address)
        sender = OutboxSender(store, settings.mlflow_uri)
        mirror = ModelMirror(store, ModelFiles(settings.models_dir), settings.mlflow_uri)
        self._work = _Work(
            settings, Presence(store, "Outbox"), [lambda: sender.send_pending() + mirror.tell() > 0]
        )
        self._checkpointer = open_checkpointer(settings, store)
        jobs = Jobs(store, settings.lease_s, settings.max_attempts)
        steps = [self._checkpointer.step, QueueUpkeep(settings, jobs, f"upkeep-{os.getpid()}").step]
        self._work.also([*upkeep(House(settings, store)), *steps], UPKEEP_S)
        self._work.also(outgoing(settings, store), settings.poll_s)

    def __del__(self) -> None:
        self._work.end()
        self._checkpointer.sign_all()


class _Kept:
    """The live versions of a process that keeps them, and what it does for them again and again."""

    def __init__(self, settings: Settings, store: Store, decoding: DecodingPool) -> None:
        registry = open_registry(settings, store)
        self.live = LiveModels(registry, ServeClassifiers(settings), live_versions(settings))
        shadow = ShadowRunner(settings, store, self.live.take, decoding.open)
        self.steps = [self.live.follow, shadow.run_next]


class _AskedOfKeeper:
    """A TakeModel. Raises Unavailable where the keeper dies: another one is started, and the read goes on."""

    def __init__(self, keeper: Handle | None, replicas: int) -> None:
        self._keeper: Any = keeper
        self._in_flight = 2 * replicas

    def __call__(self, name: str, version: str) -> ServedModel:
        try:
            model: ModelFolder = _answer(lambda: self._keeper.take.remote(name, version).result())
        except RayActorError as died:
            raise Unavailable("the keeper of models died") from died
        handle = serve.get_app_handle(application_of(model.card.ref))
        return ServedModel(model, ReplicaScorer(handle, model.card.ref, self._in_flight))


class ServeClassifiers:
    """Starts and stops the application of a model version."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, model: ModelFolder) -> "ReplicaScorer":
        """Adopts an application that is there: the service's first, or that of a runner that died."""
        name = application_of(model.card.ref)
        try:
            if name not in serve.status().applications:
                target = serve.RunTarget(classifier(model, self._settings), name, route_prefix=None)
                serve.run_many([target], wait_for_applications_running=False)
            return ReplicaScorer(_running(name), model.card.ref, in_flight=2 * self._settings.replicas)
        except (RuntimeError, RayError) as failure:
            serve.delete(name)
            told = f"the classifier of {model.card.ref} does not start ({type(failure).__name__})"
            raise Unavailable(told, "See the service's log.") from failure

    def there(self) -> list[str]:
        names = serve.status().applications
        return [ref_of(name) for name in names if name.startswith(MODEL)]

    def stop(self, ref: str) -> None:
        serve.delete(application_of(ref))


class ReplicaScorer:
    """Spreads ranges over the replicas of a classifier, a bounded number at a time.

    A range whose replica dies is scored again by another one: the same range gives the same bytes.
    """

    def __init__(self, classifier: Handle, ref: str, in_flight: int) -> None:
        self._classifier, self._ref = classifier, ref
        self._in_flight = in_flight

    def __call__(self, tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        with ThreadPoolExecutor(self._in_flight, thread_name_prefix="dispatch") as pool:
            yield from stream(self._score, tasks, pool, ahead=self._in_flight)

    def _score(self, task: RangeTask) -> RangeScores:
        for _ in range(ATTEMPTS_A_RANGE):
            began = time.monotonic()
            try:
                scores: RangeScores = _answer(lambda: self._classifier.score.remote(task).result())
            except RayActorError:
                metrics.CLASSIFIER_DEATHS.add()
                log.warning("the replica that scored range %d died; another one takes it", task.number)
            else:
                metrics.RANGES.observe(time.monotonic() - began, model=self._ref)
                metrics.TILES.add(int((scores.status == SCORED).sum()), model=self._ref)
                return scores
        raise Unavailable(f"{ATTEMPTS_A_RANGE} replicas died over one range", "See the service's log.")


class _Work:
    """Steps of a deployment, each called again and again in a thread of its own.

    While the service drains, `stop` is set and no step begins; what was cut short ends with the next start.
    """

    def __init__(
        self,
        settings: Settings,
        presence: Presence,
        steps: Iterable[Callable[[], bool]],
        stop: threading.Event | None = None,
    ) -> None:
        self.stop = stop or threading.Event()
        self._grace_s, self._draining = settings.grace_s, draining_of(settings)
        self._presence, self._threads = presence.begin(), list[threading.Thread]()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, name="draining", daemon=True)
        self._looking.start()
        self.also(steps, settings.poll_s)

    def also(self, steps: Iterable[Callable[[], bool]], wait_s: float) -> None:
        """Begin further steps, with `wait_s` between calls that found nothing to do."""
        for step in steps:
            thread = threading.Thread(target=self._repeat, args=(step, wait_s), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Begin no step any more, and wait for those that run, up to the service's grace."""
        self._over.set()
        self._looking.join()
        self.stop.set()
        until = time.monotonic() + self._grace_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._presence.leave()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            (self.stop.set if self._draining.is_on else self.stop.clear)()

    def _repeat(self, step: Callable[[], bool], wait_s: float) -> None:
        while not self._over.is_set():
            self._over.wait(LOOK_S if self.stop.is_set() else _once(step, wait_s))


def _once(step: Callable[[], bool], wait_s: float) -> float:
    """Call it; return the seconds until the next call."""
    try:
        return 0.0 if step() else wait_s
    except Exception:  # an outage of store or MLflow: look again later
        log.exception("will try again")
        return WAIT_AFTER_OUTAGE_S


def build(settings: Settings) -> serve.Application:
    """Bind all deployments but the classifiers."""
    prepare_folders(settings)
    installation = installation_id(settings)
    grace_s, several = settings.grace_s, {"num_replicas": settings.runners} | _spread(settings)
    aggregator = _deploy(Aggregator, grace_s, **several).bind()
    keeper = _deploy(Keeper, grace_s).bind(settings, installation) if settings.profile == "cluster" else None
    runner = _deploy(Runner, grace_s, **several).bind(settings, installation, aggregator, keeper)
    outbox = _deploy(Outbox, grace_s).bind(settings)
    ingress = _deploy(
        serve.ingress()(Ingress),
        grace_s,
        max_ongoing_requests=MOST_REQUESTS,
        num_replicas=settings.ingresses,
        **_spread(settings),
    )
    application: serve.Application = ingress.bind(settings, installation, runner, outbox)
    return application


def _spread(settings: Settings) -> dict[str, int]:
    """On a cluster at most one of a kind a node: a node that dies takes no more than one with it."""
    return {"max_replicas_per_node": 1} if settings.profile == "cluster" else {}


def _deploy(deployed: type, grace_s: float, **options: Any) -> Any:  # noqa: ANN401  # Ray hides these types
    booked: dict[str, Any] = {"ray_actor_options": SUPPORT, "graceful_shutdown_timeout_s": grace_s + HURRY_S}
    return serve.deployment(**(booked | options))(deployed)


def classifier(model: ModelFolder, settings: Settings) -> serve.Application:
    """Bind a model version. Raises MachineTooSmall for what would wait in DEPLOYING for ever."""
    share = share_of_replica(settings)
    deployment = _deploy(
        TileClassifier,
        settings.grace_s,
        name=f"TileClassifier-{model.card.name}-{model.card.version}",
        num_replicas=settings.replicas,
        ray_actor_options={"num_cpus": share.cpus},
        max_ongoing_requests=2,
        max_constructor_retry_count=CONSTRUCTOR_TRIES,
        **_spread(settings),
    )
    application: serve.Application = deployment.bind(model, share, settings)
    return application


def _running(name: str) -> Handle:
    """The handle of an application that is there, once it runs. Raises RuntimeError where it does not."""
    until = time.monotonic() + START_S
    while (status := serve.status().applications[name].status) != "RUNNING":
        if status in {"DEPLOY_FAILED", "DELETING"} or time.monotonic() > until:
            raise RuntimeError(f"{name} is {status}")
        time.sleep(0.1)
    handle: Handle = serve.get_app_handle(name)
    return handle


def _concluded(aggregator: Handle, read: ReadToConclude) -> tuple[EndState, ReadResult]:
    """Raises Unavailable where the aggregator dies: the lease ends, and another attempt concludes."""
    try:
        ended: tuple[EndState, ReadResult] = _answer(lambda: aggregator.conclude.remote(read).result())
        return ended
    except RayActorError as died:
        raise Unavailable("the aggregator died while it wrote a result") from died


def _answer(call: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever the deployment returns
    """Call a deployment; an error of ours comes back as itself and not in Ray's wrapping."""
    try:
        return call()
    except RayTaskError as failure:
        if isinstance(failure.cause, UltraReadError):
            raise failure.cause from None
        raise
