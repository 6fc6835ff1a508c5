"""The start-up check names what does not fit, instead of waiting in DEPLOYING."""

import pytest

from ultraread.errors import MachineTooSmall
from ultraread.serving.machine import SUPPORT_CPUS, SUPPORT_DEPLOYMENTS, share_of_replica
from ultraread.serving.settings import Settings


@pytest.mark.parametrize(("cpus", "replicas", "threads"), [(2, 1, 2), (2, 2, 1), (8, 3, 2), (16, 4, 4)])
def test_replicas_divide_the_cores_and_leave_room_for_the_rest(
    cpus: int, replicas: int, threads: int
) -> None:
    share = share_of_replica(Settings(cpus=cpus, replicas=replicas))
    assert share.threads == threads
    assert share.cpus * replicas + SUPPORT_CPUS * SUPPORT_DEPLOYMENTS <= cpus + 0.01


def test_more_replicas_than_cores_are_refused_with_what_to_do() -> None:
    with pytest.raises(MachineTooSmall, match="3 classifier replicas") as refused:
        share_of_replica(Settings(cpus=2, replicas=3))
    assert "replicas" in refused.value.remedy


def test_two_models_need_a_core_for_each_replica_of_both() -> None:
    with pytest.raises(MachineTooSmall, match="2 for each of 2 models"):
        share_of_replica(Settings(cpus=2, replicas=2, models=("one", "two")))
