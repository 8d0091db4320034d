"""Whether this process is one of several that somebody else started, as far as its surroundings say.

JAX finds their number and their addresses in the environment, and on Cloud TPU VMs by asking the metadata server.
"""

import functools
import importlib.util
import os
import pathlib
import re
import urllib.error
import urllib.request
from collections.abc import Mapping

SECONDS = 3  # for which the metadata server is waited for; it runs on the same machine
# Of a process that srun has started; a shell of salloc has some of them, and its processes are each alone.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_DEVICES = ("accel[0-9]*", "vfio/[0-9]*")  # of TPUs, in /dev; JAX looks for the chips themselves


def is_managed() -> bool:
    """Whether this is one of several processes whose number and address JAX finds by itself."""
    slurm = all(name in os.environ for name in _SLURM) and int(os.environ["SLURM_NTASKS"]) > 1
    gke = "JOB_COMPLETION_INDEX" in os.environ and "MEGASCALE_COORDINATOR_ADDRESS" in os.environ
    return slurm or gke or _several_hosts(os.environ)


def place_by_environment() -> tuple[int, int] | None:
    """(number of this process, how many there are), as Slurm or GKE say it; None: neither does."""
    env = os.environ
    if all(name in env for name in _SLURM) and int(env["SLURM_NTASKS"]) > 1:
        return int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"])
    hosts = _hosts(env)
    if len(hosts) > 1 and env.get("TPU_WORKER_ID", "").isdigit() and int(env.get("MEGASCALE_NUM_SLICES", "1")) == 1:
        return int(env["TPU_WORKER_ID"]), len(hosts)
    return None


def _several_hosts(env):
    """Whether a TPU slice, or several, have several hosts: by the environment, else by the metadata server."""
    if hosts := _hosts(env):
        return len(hosts) > 1
    return has_tpu() and hosts_by_metadata() > 1


def _hosts(env: Mapping[str, str]):
    """Addresses of the hosts of a slice that the environment names."""
    named = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES") or ""
    return [host for host in named.split(",") if host]


def has_tpu(devices: pathlib.Path = pathlib.Path("/dev")) -> bool:
    """Whether this machine has TPUs that JAX would use: device files, libtpu, and no word against asking for more.

    Args:
        devices: the folder of device files.
    """
    if "TPU_SKIP_MDS_QUERY" in os.environ or os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] not in ("tpu", ""):
        return False
    if not any(True for pattern in _DEVICES for _ in devices.glob(pattern)):
        return False
    return "TPU_LIBRARY_PATH" in os.environ or importlib.util.find_spec("libtpu") is not None


@functools.cache
def hosts_by_metadata() -> int:
    """How many hosts the metadata server of a Cloud TPU VM says that its slices have together; 1 where none answers."""
    hosts = _attribute("worker-network-endpoints")
    if hosts is None:
        return 1
    slices = os.environ.get("MEGASCALE_NUM_SLICES", "")
    if not slices.isdigit():
        said = re.search(r"^\s*MEGASCALE_NUM_SLICES\s*:\s*'?(\d+)", _attribute("tpu-env") or "", re.MULTILINE)
        slices = said[1] if said else "1"
    return len([host for host in hosts.split(",") if host.strip()]) * int(slices)


def _attribute(name):
    """An attribute of this VM; None: there is none, or no server that would know."""
    address = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")  # as JAX asks
    request = urllib.request.Request(
        f"http://{address}/computeMetadata/v1/instance/attributes/{name}", headers={"Metadata-Flavor": "Google"}
    )
    try:
        with _OPENER.open(request, timeout=SECONDS) as answer:
            return answer.read(1 << 20).decode(errors="replace")
    except (urllib.error.URLError, OSError, ValueError):
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is never behind a proxy
