"""Cloud TPU VMs, without a cluster: a script of gcloud commands that creates, watches and deletes them.

Commands as of cloud.google.com/sdk/gcloud/reference/compute/tpus/queued-resources and .../tpu-vm.
"""

import dataclasses
import shlex
import string
import textwrap

from cloze.errors import ConfigError
from cloze.launchers import hosts, tpus
from cloze.launchers.base import AGAIN, LAUNCHERS, Elsewhere, Job, Plan, line
from cloze.options import Name, Path, option

# The run goes on while this machine sleeps: the script only looks at it, and may be ended and started again.
_CONTROL = string.Template("""\
#!/bin/bash
# Creates TPU VMs, runs the job on them, starts it again when it was stopped early, and deletes them when it has ended.
# The job goes on when this script is ended; start it again to go on watching. `bash $file delete` deletes the VMs.
set -u
name=$name
where=($where)
nodes=($nodes)
source=$source
every=$${CLOZE_POLL_SECONDS:-30}
restarts=0

say() { echo "$$(date '+%F %T') $$*"; }
queued() { gcloud compute tpus queued-resources "$$@" "$${where[@]}"; }
ssh() { gcloud compute tpus tpu-vm ssh "$$1" "--worker=$$2" "--command=$$3" "$${where[@]}"; }
copy() { gcloud compute tpus tpu-vm scp "$$1" "$$2:$$3" --worker=all "$${where[@]}"; }

create() { queued create "$$name" $create; }
delete() { queued delete "$$name" --force; }

state() {  # of the queued resource
  local answer
  if answer=$$(queued describe "$$name" '--format=value(state.state)' 2>&1); then
    tail -n 1 <<< "$$answer"
  else
    case $$answer in *NOT_FOUND*) echo ABSENT ;; *) echo "$$answer" >&2; echo UNKNOWN ;; esac
  fi
}

status() {  # of the run: absent, new, running or its exit code; nothing where the VM does not answer
  ssh "$${nodes[0]}" 0 'if [ -f cloze-host.sh ]; then bash cloze-host.sh status; else echo absent; fi' | tail -n 1
}

everywhere() {  # runs a command on all hosts at once
  local node children=() failed=0
  for node in "$${nodes[@]}"; do ssh "$$node" all "$$1" & children+=($$!); done
  for child in "$${children[@]}"; do wait "$$child" || failed=1; done
  return $$failed
}

prepare() {  # the script of the host comes last, and to the first host last of all: where it is, all is
  local node
  tar -C "$$source" -czf "$$name.tar.gz" --exclude=./.git --exclude=./runs --exclude='./.venv*' . || return
  for node in "$${nodes[@]}"; do
    copy "$$name.tar.gz" "$$node" cloze.tar.gz && copy "$$name-host.sh" "$$node" cloze-new.sh || return
  done
  everywhere 'bash cloze-new.sh install' || return
  for ((i = $${#nodes[@]} - 1; i >= 0; i--)); do ssh "$${nodes[i]}" all 'mv cloze-new.sh cloze-host.sh' || return; done
}

start() { say "Starting the run"; everywhere 'bash cloze-host.sh start'; }

again() {  # whether to start once more
  restarts=$$((restarts + 1))
  [ "$$restarts" -le $restarts ] && { say "$$1: restart $$restarts of at most $restarts"; return; }
  say "$$1, after $restarts restarts"
  finish $again
}

finish() {
  say "The run has ended with exit code $$1"
  $end
  exit "$$1"
}

if [ "$${1:-}" = delete ]; then delete; exit; fi
while true; do
  now=$$(state)
  case $$now in
    ABSENT) say "Asking for $size"; create || exit 1 ;;
    ACTIVE)
      code=$$(status)
      case $$code in
        absent) say "Installing"; prepare && start ;;
        new) start ;;
        $again) again "The run has saved and stopped" && start ;;
        [0-9]|[0-9][0-9]|[0-9][0-9][0-9]) finish "$$code" ;;
      esac ;;
    SUSPENDING|SUSPENDED|FAILED)
      queued describe "$$name" '--format=yaml(state)'  # which says why
      again "The VMs are $$now" && delete ;;
    *) say "$$now" ;;
  esac
  sleep "$$every"
done
""")

_HOST = string.Template("""\
#!/bin/bash
# On each host: installs Cloze, starts the run, and says how it stands.
state=$$HOME/cloze-state
mkdir -p "$$state"
alive() { [ -f "$$state/pid" ] && kill -0 -- "-$$(cat "$$state/pid")" 2> /dev/null; }

case $${1:-} in
  install)
    set -e
    if ! mountpoint -q $mount; then
      command -v mount.nfs > /dev/null || { sudo apt-get -qq update && sudo apt-get -qq install -y nfs-common; }
      sudo mkdir -p $mount
      sudo mount -t nfs $nfs $mount
    fi
    sudo mkdir -p $places
    sudo chown "$$(id -u)" $places
    rm -rf cloze-source
    mkdir cloze-source
    tar -C cloze-source -xzf cloze.tar.gz
    cd cloze-source
$install    ;;
  start)  # what is left of an earlier start goes first
    if alive; then
      kill -TERM -- "-$$(cat "$$state/pid")"
      for ((i = 0; i < 5 * $grace; i++)); do alive || break; sleep 0.2; done
      alive && kill -KILL -- "-$$(cat "$$state/pid")"
    fi
    rm -f "$$state/code"
    setsid bash "$$0" run > "$$state/log" 2>&1 < /dev/null &
    echo $$! > "$$state/pid" ;;
  run)
    (
$variables      $command
    )
    echo $$? > "$$state/code" ;;
  status)
    if [ -f "$$state/code" ]; then cat "$$state/code"; elif alive; then echo running; else echo new; fi ;;
esac
""")


@LAUNCHERS.register("tpu_vm")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TpuVm(Elsewhere):
    """A queued resource of one slice or several, each a TPU VM with its hosts."""

    accelerator: str = option(
        "", "the TPU", choices=("", *(name for name, made in tpus.GENERATIONS.items() if made.runtime))
    )
    topology: Name = option("", "how the chips of a slice are arranged, 4x8 or 4x4x8")
    slices: int = option(1, "number of slices, between which the data-centre network is", least=1, most=256)
    zone: Name = option("", "zone of Google Cloud, such as us-central2-b")
    project: Name = option("", "Google Cloud project; empty: that of gcloud's configuration")
    nfs: Name = option("", "shared storage, ADDRESS:/SHARE, such as a Filestore instance in the VMs' network")
    spot: bool = option(True, "take VMs that are cheaper and may be taken away at any time")
    reserved: bool = option(False, "take VMs of your reservation", needs={"spot": (False,)})
    runtime: Name = option("", "software of the VMs; empty: what Google names for the TPU")
    source: Path = option("", "checkout of Cloze that is copied to the VMs; empty: the one that runs this command")
    python: Name = option("3.11", "version of Python for the VMs")
    restarts: int = option(20, "how often the job starts again after exit code 75 or lost VMs", least=0, most=10_000)
    keep: bool = option(False, "leave the VMs when the run has ended; they cost as long as they are there")

    def count_processes(self) -> int:
        return self.slices * self._slice().hosts

    def _slice(self):
        if not self.accelerator:
            raise ConfigError("job.accelerator is required for job.backend=tpu_vm")
        return tpus.find_vm(self.accelerator, self.topology)

    def plan(self, job: Job) -> Plan:
        found = self._slice()
        if not self.zone:
            raise ConfigError("job.zone is required for job.backend=tpu_vm")
        self.check_places(job, "nfs", self.nfs)
        script, where = f"{job.name}.sh", [f"--zone={self.zone}", "--quiet"]
        where += [f"--project={self.project}"] if self.project else []
        node = job.name if self.slices == 1 else f"{job.name}-0"
        log = ("gcloud", "compute", "tpus", "tpu-vm", "ssh", node, "--worker=0", *where)
        return Plan(
            files={script: self._control(job, found, script, where), f"{job.name}-host.sh": self._host(job)},
            submit=("bash", script),
            watch=line(*log, "--command=tail -f cloze-state/log"),
            stop=line("bash", script, "delete"),
        )

    def _control(self, job, found, script, where):
        several = self.slices > 1
        nodes = [f"{job.name}-{i}" for i in range(self.slices)] if several else [job.name]
        create = [f"--accelerator-type={found.accelerator_type}"]
        create += [f"--runtime-version={self.runtime or found.generation.runtime}"]
        create += [f"--node-count={self.slices}", f"--node-prefix={job.name}"] if several else [f"--node-id={job.name}"]
        create += ["--spot"] if self.spot else ["--reserved"] if self.reserved else []
        return _CONTROL.substitute(
            file=script,
            name=job.name,
            where=line(*where),
            nodes=line(*nodes),
            source=shlex.quote(self.source or job.checkout),
            create=line(*create),
            size=f"{self.slices} slice(s) {found.accelerator_type}",
            restarts=self.restarts,
            again=AGAIN,
            end=f'say "The VMs are left: bash {script} delete"' if self.keep else "delete",
        )

    def _host(self, job):
        several = self.count_processes() > 1
        command = f'exec "{hosts.ENVIRONMENT}/bin/cloze" {line(*job.installed[1:])}'
        return _HOST.substitute(
            mount=shlex.quote(self.mount),
            nfs=shlex.quote(self.nfs),
            places=line(*filter(None, [job.workdir, job.cache])),
            install="".join(f"    {part}\n" for part in hosts.install(self.python, "tpu").splitlines()),
            grace=self.grace,
            variables=textwrap.indent(hosts.VARIABLES, "      ") if several else "",
            command=f"{command} {hosts.MEETING}" if several else command,
        )
