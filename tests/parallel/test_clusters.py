"""Whether a process is one of several that somebody else started."""

import http.server
import threading

import pytest

from cloze.parallel import clusters, joining

NAMES = [
    "TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES", "TPU_WORKER_ID", "MEGASCALE_COORDINATOR_ADDRESS",
    "MEGASCALE_NUM_SLICES", "JOB_COMPLETION_INDEX", "TPU_SKIP_MDS_QUERY", "TPU_LIBRARY_PATH", "GCE_METADATA_IP",
    *clusters._SLURM,
]  # fmt: skip
SRUN = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "4", "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1"}  # fmt: skip
HOSTS = "/computeMetadata/v1/instance/attributes/worker-network-endpoints"
NUMBER = "/computeMetadata/v1/instance/attributes/agent-worker-number"
SETTINGS = "/computeMetadata/v1/instance/attributes/tpu-env"


@pytest.fixture
def environment(monkeypatch):
    """A function that sets variables; none is set before. JAX may use TPUs."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    clusters.hosts_by_metadata.cache_clear()
    yield lambda **values: [monkeypatch.setenv(*item) for item in values.items()]
    clusters.hosts_by_metadata.cache_clear()


@pytest.fixture
def metadata():
    """(what a metadata server answers, {path: text}; its address); it wants the header that Google's wants."""
    texts = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.headers["Metadata-Flavor"] == "Google" and self.path in texts
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(texts[self.path].encode() if known else b"<html>not found</html>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield texts, f"localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "values, managed, place",
    [
        ({}, False, None),
        (SRUN, True, (3, 4)),
        (SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False, None),  # a shell of salloc
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}, True, (1, 2)),
        ({"TPU_PROCESS_ADDRESSES": "a:1,b:1", "TPU_WORKER_ID": "0"}, True, (0, 2)),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False, None),
        ({"JOB_COMPLETION_INDEX": "0", "MEGASCALE_COORDINATOR_ADDRESS": "a:1"}, True, None),
    ],
)
def test_the_environment_says_it(values, managed, place, environment):
    environment(**values)
    assert clusters.is_managed() == managed
    assert clusters.place_by_environment() == place


@pytest.mark.parametrize(
    "texts, hosts",
    [
        ({HOSTS: "10.0.0.1,10.0.0.2"}, 2),
        ({HOSTS: "a:0:10.0.0.1,b:1:10.0.0.2,c:2:10.0.0.3"}, 3),  # as older VMs list them
        ({HOSTS: "10.0.0.1", SETTINGS: "ZONE: 'z'\n"}, 1),
        ({HOSTS: "10.0.0.1", SETTINGS: "ZONE: 'z'\nMEGASCALE_NUM_SLICES: '4'\n"}, 4),
        ({}, 1),  # another VM of Google's
    ],
)
def test_the_metadata_server_of_a_tpu_vm_says_it(texts, hosts, environment, metadata, monkeypatch):
    answers, address = metadata
    answers.update(texts)
    environment(GCE_METADATA_IP=address, http_proxy="http://localhost:9")
    assert clusters.hosts_by_metadata() == hosts
    monkeypatch.setattr(clusters, "has_tpu", lambda: True)
    assert clusters.is_managed() == (hosts > 1)
    monkeypatch.setattr(clusters, "has_tpu", lambda: False)
    assert not clusters.is_managed()


def test_where_no_server_answers_a_process_is_alone(environment):
    environment(GCE_METADATA_IP="localhost:9")
    assert clusters.hosts_by_metadata() == 1


@pytest.mark.parametrize("device", ["accel0", "vfio/0"])
def test_a_tpu_is_a_device_file_and_its_library(device, environment, tmp_path):
    environment(TPU_LIBRARY_PATH="/lib/libtpu.so")
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()  # is there without any device
    assert not clusters.has_tpu(tmp_path)
    (tmp_path / device).touch()
    assert clusters.has_tpu(tmp_path)
    environment(JAX_PLATFORMS="cpu")
    assert not clusters.has_tpu(tmp_path)
    environment(JAX_PLATFORMS="tpu,cpu")
    assert clusters.has_tpu(tmp_path)
    environment(TPU_SKIP_MDS_QUERY="1")
    assert not clusters.has_tpu(tmp_path)


def test_jax_finds_the_same_processes_by_the_metadata_server(environment, metadata, monkeypatch):
    from jax._src.clusters import cloud_tpu_cluster

    answers, address = metadata
    answers.update({HOSTS: "127.0.0.1,127.0.0.2", SETTINGS: "MEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n"
                    "MEGASCALE_COORDINATOR_ADDRESS: '127.0.0.9'\n", NUMBER: "1"})  # fmt: skip
    environment(GCE_METADATA_IP=address)
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    assert joining._managed_place(5) == joining.Place("127.0.0.9:8482", clusters.hosts_by_metadata(), 3)
