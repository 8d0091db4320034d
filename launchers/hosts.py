"""What runs on bare machines: Cloze's installation, and how processes on Cloud TPU VMs find each other.

The flags of a process on a TPU VM have the values that JAX reads from the metadata server of each VM
(jax/_src/clusters/cloud_tpu_cluster.py); its environment has none of them.
"""

from cloze.launchers.base import PORT, line

ENVIRONMENT = "$HOME/cloze-environment"  # a virtual environment, whatever Python the machine has

# Shell: sets first (address), hosts, slices, number (of this process). Workers are listed as names or name:id:address.
VARIABLES = """\
metadata() {
  curl --silent --fail --header 'Metadata-Flavor: Google' \\
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
setting() { metadata tpu-env | sed -n "s/^$1: *//p" | tr -d "'"; }
workers=$(metadata worker-network-endpoints) || { echo 'the metadata server does not answer' >&2; exit 75; }
hosts=$(tr ',' '\\n' <<< "$workers" | wc -l)
slices=$(setting MEGASCALE_NUM_SLICES)
slice=$(setting MEGASCALE_SLICE_ID)
first=$(setting MEGASCALE_COORDINATOR_ADDRESS)
first=${first%%:*}
if [ -z "$first" ]; then first=${workers%%,*}; first=${first##*:}; fi
number=$(($(metadata agent-worker-number) + ${slice:-0} * hosts))
"""
MEETING = f'--coordinator="$first:{PORT}" --num_processes="$((hosts * ${{slices:-1}}))" --process_id="$number"'


def install(python: str, extra: str) -> str:
    """Lines of a shell that install the checkout in the current folder.

    Args:
        python: version, "3.11".
        extra: of setup.py, "tpu" or "gpu".
    """
    return f"""\
python3 -m pip install --quiet --user uv
[ -d "{ENVIRONMENT}" ] || python3 -m uv venv --quiet --python {line(python)} "{ENVIRONMENT}"
python3 -m uv pip install --quiet --python "{ENVIRONMENT}/bin/python" '.[{extra}]'
"""
