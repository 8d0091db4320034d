"""The script for Cloud TPU VMs, run against a cloud of folders: a VM's host is a folder, and its home."""

import dataclasses

import pytest

from cloze.errors import ConfigError
from tests.launchers.examples import ARGUMENTS, JOB, TPUS, commands, launcher, run
from tests.launchers.metadata import CURL

# `gcloud` on this machine. $CLOUD/state is what the queued resource is; $CLOUD/vms/NODE/HOST/ are its hosts.
GCLOUD = r"""
echo "$*" >> "$CLOUD/calls"
flag() { for word in "$@"; do case $word in --$name=*) echo "${word#*=}" ;; esac; done; }
here() { [ -d "$CLOUD/vms/$1" ] || exit 255; }
shift
case "$1 $2" in
  "tpus queued-resources")
    case $3 in
      create)
        name=node-count; slices=$(flag "$@")
        for ((i = 0; i < ${slices:-1}; i++)); do
          node=$4; [ -z "$slices" ] || node=$4-$i
          for ((j = 0; j < HOSTS; j++)); do
            mkdir -p "$CLOUD/vms/$node/$j"
            printf 'WORKERS=%s\nNUMBER=%s\nSLICE=%s\n' "$ADDRESSES" "$j" "$i" > "$CLOUD/vms/$node/$j/metadata"
          done
        done
        echo ACTIVE > "$CLOUD/state" ;;
      describe) cat "$CLOUD/state" 2> /dev/null || { echo "ERROR: NOT_FOUND: no such resource" >&2; exit 1; } ;;
      delete) rm -rf "$CLOUD/vms" "$CLOUD/state" ;;
    esac ;;
  "tpus tpu-vm")
    name=worker; worker=$(flag "$@")
    case $3 in
      scp) here "${5%%:*}"; for host in "$CLOUD/vms/${5%%:*}"/*/; do cp "$4" "$host${5#*:}"; done ;;
      ssh)
        here "$4"; name=command; code=0
        for host in "$CLOUD/vms/$4"/*/; do
          [ "$worker" = all ] || [ "$worker" = "$(basename "$host")" ] || continue
          (cd "$host" && . ./metadata && export WORKERS NUMBER SLICE HOME="${host%/}" &&
            SETTINGS="MEGASCALE_SLICE_ID: '$SLICE'"$'\n'"MEGASCALE_NUM_SLICES: '$SLICES'" &&
            { [ "$SLICES" = 1 ] || SETTINGS+=$'\n'"MEGASCALE_COORDINATOR_ADDRESS: '10.0.9.9:8081'"; } &&
            export SETTINGS && bash -c "$(flag "$@")") || code=$?
        done
        exit "$code" ;;
    esac ;;
esac
"""
# On a host: what the installation leaves as `cloze`. Process 0 takes the next outcome when all have met, as JAX has it.
CLOZE = r"""
printf '%s\n' "$*" >> "$CLOUD/runs"
case "$*" in *--process_id=0) ;; *) exit 75 ;; esac
count=${*##*--num_processes=}; count=${count%% *}; starts=$(grep -c -e '--process_id=0' "$CLOUD/runs")
while [ "$(wc -l < "$CLOUD/runs")" -lt $((count * starts)) ]; do sleep 0.05; done
outcome=$(sed -n 1p "$CLOUD/outcomes"); sed -i 1d "$CLOUD/outcomes"
if [ "$outcome" = taken ]; then
  echo SUSPENDED > "$CLOUD/state"
  while [ -d "$HOME" ]; do sleep 0.05; done
fi
exit "$outcome"
"""
PYTHON3 = (
    'case "$*" in "-m uv venv"*) mkdir -p "$HOME/cloze-environment/bin"; cp "$CLOUD/cloze" "${!#}/bin/cloze" ;; esac'
)


class Cloud:
    """A cloud in which the plan of a launcher can be run."""

    def __init__(self, folder, hosts, slices=1, **given):
        self.folder = folder
        (folder / "source").mkdir()
        (folder / "source" / "setup.py").write_text("")
        made = launcher("tpu_vm", mount=str(folder / "mnt"), slices=slices, **given)
        places = dict(workdir=f"{folder}/mnt/runs/bert", cache=f"{folder}/mnt/cache", checkout=str(folder / "source"))
        self.plan = made.plan(dataclasses.replace(JOB, **places))
        for name, text in self.plan.files.items():
            (folder / name).write_text(text)
        commands(folder, cloze=CLOZE)
        self.environment = commands(
            folder / "bin", gcloud=GCLOUD, curl=CURL, python3=PYTHON3, sudo='exec "$@"', mountpoint="exit 0"
        ) | {
            "CLOUD": str(folder), "HOSTS": str(hosts), "SLICES": str(slices), "CLOZE_POLL_SECONDS": "0.02",
            "ADDRESSES": ",".join(f"10.0.0.{i + 1}" for i in range(hosts)),
        }  # fmt: skip

    def run(self, *outcomes, arguments=()):
        (self.folder / "outcomes").write_text("".join(f"{outcome}\n" for outcome in outcomes))
        return run([*self.plan.submit, *arguments], self.environment, cwd=self.folder)

    def calls(self, verb):
        return [call for call in (self.folder / "calls").read_text().splitlines() if f"queued-resources {verb}" in call]

    def starts(self):
        """The command lines of process 0."""
        lines = (self.folder / "runs").read_text().splitlines()
        return [line for line in lines if line.endswith("--process_id=0") or "--process_id" not in line]


def test_a_run_survives_losing_its_machines_and_the_machines_go_at_the_end(tmp_path):
    cloud = Cloud(tmp_path, hosts=2, accelerator="v5p", topology="2x2x2")
    done = cloud.run("taken", 75, 0)
    assert done.returncode == 0, done.stdout + done.stderr
    create = "compute tpus queued-resources create bert --accelerator-type=v5p-16 --runtime-version=v2-alpha-tpuv5"
    assert cloud.calls("create") == [f"{create} --node-id=bert --spot --zone=us-central2-b --quiet"] * 2
    assert len(cloud.calls("delete")) == 2 and not (tmp_path / "vms").exists()
    meeting = "--coordinator=10.0.0.1:8482 --num_processes=2 --process_id=0"
    assert cloud.starts() == [f"train {' '.join(ARGUMENTS)} {meeting}"] * 3
    assert (tmp_path / "mnt" / "runs" / "bert").is_dir()


def test_a_final_exit_code_is_handed_on(tmp_path):
    cloud = Cloud(tmp_path, hosts=2, accelerator="v5p", topology="2x2x2", keep=True)
    assert cloud.run(3).returncode == 3
    assert len(cloud.calls("create")) == 1 and cloud.calls("delete") == []
    assert cloud.run(arguments=["delete"]).returncode == 0
    assert not (tmp_path / "vms").exists()


def test_restarts_are_limited(tmp_path):
    cloud = Cloud(tmp_path, hosts=2, accelerator="v5p", topology="2x2x2", restarts=1)
    done = cloud.run(75, 75, 0)
    assert done.returncode == 75 and "after 1 restarts" in done.stdout
    assert len(cloud.starts()) == 2 and not (tmp_path / "vms").exists()


def test_processes_of_several_slices_are_counted_through(tmp_path):
    cloud = Cloud(tmp_path, hosts=2, slices=2, accelerator="v6e", topology="4x4", spot=False, reserved=True)
    assert cloud.run(0).returncode == 0
    (create,) = cloud.calls("create")
    assert "--accelerator-type=v6e-16" in create and "--node-count=2 --node-prefix=bert --reserved" in create
    runs = (tmp_path / "runs").read_text().splitlines()
    meeting = "--coordinator=10.0.9.9:8482 --num_processes=4"
    assert sorted(runs) == [f"train {' '.join(ARGUMENTS)} {meeting} --process_id={i}" for i in range(4)]


@pytest.mark.parametrize("case", TPUS)
def test_scripts_are_bash(case, tmp_path):
    plan = launcher("tpu_vm", **TPUS[case][0]).plan(JOB)
    for text in plan.files.values():
        (tmp_path / "script").write_text(text)
        assert run(["bash", "-n", tmp_path / "script"], {}).returncode == 0
    several = TPUS[case][1] * TPUS[case][2] > 1
    assert ("--coordinator" in plan.files["bert-host.sh"]) == several


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="job.accelerator is required"):
        launcher("tpu_vm").plan(JOB)
    with pytest.raises(ConfigError, match="job.reserved=True needs job.spot=False"):
        launcher("tpu_vm", accelerator="v5e", reserved=True)
