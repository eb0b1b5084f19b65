"""Reaches a Ray cluster, or starts one on this machine, and takes room in it for workers.

Knows addresses and resources; leaves what runs there to `ray_worker`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dllm_decode.errors import ConfigError

# Ray takes 127.0.0.1 for "the address by which others reach this machine"; another loopback address it leaves alone.
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
GIVEN_BACK = 10.0
"""Seconds for which others that have just ended may take to give back what they held."""



def import_ray() -> Any:
    """Return Ray.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("workers need Ray, which is not installed: pip install 'dllm-decode[ray]'") from None
    return ray


def connect(ray: Any, address: str | None, workers: int) -> bool:
    """Connect to a cluster, or start Ray on this machine; return whether this process has to shut it down.

    Raises:
        ConfigError: There is no cluster at the address.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            cores = max(os.cpu_count() or 1, workers)
            own = {"_node_ip_address": LOOPBACK, "include_dashboard": False, "num_cpus": cores}
            ray.init(address="local", **own, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        where = f"there is no cluster at {address!r}" if address is not None else "it cannot be started here"
        raise ConfigError(
            f"ray: {where}: {reason}. `ray start --head` starts a cluster; without an address this machine alone is used"
        ) from None
    return True


@dataclass(frozen=True, slots=True)
class Room:
    """What is reserved for workers in a cluster."""

    ray: Any
    group: Any
    """Ray's placement group: one bundle a worker; what was on a lost machine is reserved anew where there is room."""
    bundle: Mapping[str, int]
    """What one worker takes, by the name of the resource."""

    @classmethod
    def take(cls, ray: Any, workers: int, device: str | None) -> Self:
        """Reserve what the workers need; where others use part of the CPUs, workers get fewer each.

        Raises:
            ConfigError: There is no room for so many.
        """
        bundle = share(ray.nodes(), workers, device)
        while True:
            group = ray.util.placement_group([bundle] * workers)
            if group.wait(GIVEN_BACK):
                return cls(ray, group, bundle)
            ray.util.remove_placement_group(group)
            free = ray.available_resources()
            fewer = int(free.get("CPU", 0)) // workers
            if fewer >= bundle["CPU"]:
                # Enough is free, but too little on each machine.
                fewer = bundle["CPU"] // 2
            if "GPU" in bundle or fewer < 1:
                break
            bundle = {"CPU": fewer}
        has = " and ".join(f"{free.get(name, 0):g} of {total(ray.nodes(), name):g} {name}s" for name in bundle)
        raise ConfigError(
            f"workers: no room for {workers}: each needs a {' and a '.join(bundle)}, and {has} are free; others hold the "
            "rest: ask for fewer, or wait until those have ended"
        )

    def options(self) -> dict[str, Any]:
        """Return the options of an actor that goes in here."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        here = PlacementGroupSchedulingStrategy(self.group)
        return {"num_cpus": self.bundle["CPU"], "num_gpus": self.bundle.get("GPU", 0), "scheduling_strategy": here}

    def give_back(self) -> None:
        """Let others have it; ends what runs in it."""
        self.ray.util.remove_placement_group(self.group)


def share(nodes: Sequence[Mapping[str, Any]], workers: int, device: str | None) -> dict[str, int]:
    """Return what each worker takes if nobody else uses the cluster: a GPU where there are any, else its part of the CPUs.

    Raises:
        ConfigError: Even then there is no room for so many.
    """
    gpus = 0 if device == "cpu" else int(total(nodes, "GPU"))
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    if workers > (gpus or sum(cpus)):
        has = f"{gpus} GPUs" if gpus else f"{sum(cpus)} CPUs"
        instead = ", or use --device cpu" if gpus else ""
        raise ConfigError(f"workers: {workers} are more than the {has} there are; ask for fewer{instead}.")
    if gpus:
        return {"GPU": 1, "CPU": 1}
    # The largest share of which every machine together holds enough; it is also the worker's number of threads.
    return {"CPU": next(n for n in range(max(cpus), 0, -1) if sum(cpu // n for cpu in cpus) >= workers)}


def total(nodes: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return how much of a resource all machines that are there have."""
    return float(sum(node["Resources"].get(name, 0) for node in nodes if node["Alive"]))
