"""A JobSet on a Kubernetes cluster such as GKE, queued by Kueue."""

import dataclasses

from cloze.errors import ConfigError
from cloze.launchers.base import FINAL, LAUNCHERS, Job, Machines, Plan, comment, line
from cloze.launchers.kubernetes import Queued, dump, literal, processes
from cloze.options import Name, option

_REPLICATED = "workers"
_FAILURE = {False: "PodFailurePolicy", True: "FailedIndexes"}  # why a job has failed for good: whether it is an array


@LAUNCHERS.register("jobset")
@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSet(Queued):
    """One JobSet: a job for each slice, a pod for each host."""

    claim: Name = option("", "PersistentVolumeClaim of the shared storage, which several nodes can write")
    namespace: Name = option("default", "namespace of the cluster")
    service_account: Name = option("", "Kubernetes service account of the pods; empty: the namespace's default")
    chips_per_host: int = option(
        0,
        "of TPUs: 4 for a 2x4 of two hosts with four chips each; 0: what is usual, eight on one host",
        least=0,
        most=8,
    )
    spot: bool = option(False, "run on Spot VMs, which are cheaper and may be taken away at any time")
    memory_disk: int = option(8, "GiB of /dev/shm, which GPUs talk through; counts as memory", least=1, most=4096)

    @property
    def chips_of_host(self) -> int:
        return self.chips_per_host

    @property
    def has_arrays(self) -> bool:
        return True

    def plan(self, job: Job) -> Plan:
        if not self.image:
            raise ConfigError("job.image is required: a container image with Cloze; launchers/Dockerfile builds one")
        self.check_places(job, "claim", self.claim)
        machines, name = self.machines(), f"{job.name}.yaml"
        if job.array and machines.tpu:
            raise ConfigError("a sweep runs on GPUs here: GKE makes one slice of the pods of a Job on TPUs")
        told = ("--namespace", self.namespace)
        header = comment(f"Submit with: {line('kubectl', 'create', '-f', name)}")
        return Plan(
            files={name: header + dump(self._document(job, machines))},
            submit=("kubectl", "create", "-f", name),
            watch=line("kubectl", "logs", *told, "-f", "-l", f"jobset.sigs.k8s.io/jobset-name={job.name}", "--prefix"),
            stop=line("kubectl", "delete", "jobset", job.name, *told),
        )

    def _document(self, job, machines):
        labels = {"kueue.x-k8s.io/queue-name": self.queue} if self.queue else {}
        metadata = {"name": job.name, "namespace": self.namespace, **({"labels": labels} if labels else {})}
        if machines.tpu:  # each slice has a node pool for itself
            metadata["annotations"] = {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool",
            }
        # A pod that ends with a final code fails its job with the reason PodFailurePolicy, and that fails the set. All
        # else, 75 and a lost node, fails the job too, and the set starts all jobs again: processes need each other.
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": metadata,
            "spec": {
                "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
                "failurePolicy": {
                    "maxRestarts": self.restarts,
                    "rules": [
                        {"name": "final", "action": "FailJobSet", "onJobFailureReasons": [_FAILURE[bool(job.array)]]},
                    ],
                },
                "replicatedJobs": [
                    {
                        "name": _REPLICATED,
                        "replicas": machines.groups,
                        "template": {"spec": self._job(job, machines)},
                    }
                ],
            },
        }

    def _job(self, job, machines):
        codes = {"containerName": "cloze", "operator": "In", "values": list(FINAL)}
        pods = job.array or machines.hosts
        # The pods of an array start again one by one, and one that fails for good leaves the others alone.
        limit = {"backoffLimitPerIndex": self.restarts} if job.array else {"backoffLimit": 0}
        action = "FailIndex" if job.array else "FailJob"
        return {
            "parallelism": pods,
            "completions": pods,
            "completionMode": "Indexed",
            **limit,
            "podFailurePolicy": {"rules": [{"action": action, "onExitCodes": codes}]},
            "template": {"spec": self._pod(job, machines)},
        }

    def _pod(self, job, machines):
        volumes = [{"name": "shared", "persistentVolumeClaim": {"claimName": self.claim}}]
        if not machines.tpu:
            volumes.append({"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{self.memory_disk}Gi"}})
        account = {"serviceAccountName": self.service_account} if self.service_account else {}
        return {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": self.grace,
            **account,
            "nodeSelector": self._nodes(machines),
            **self._tolerations(machines),
            "containers": [self._container(job, machines)],
            "volumes": volumes,
        }

    def _nodes(self, machines: Machines) -> dict[str, str]:
        selected = {"cloud.google.com/gke-spot": "true"} if self.spot else {}
        if machines.tpu:
            selected["cloud.google.com/gke-tpu-accelerator"] = machines.tpu.generation.label
            selected["cloud.google.com/gke-tpu-topology"] = machines.tpu.topology
        else:
            selected["cloud.google.com/gke-accelerator"] = machines.gpu
        return selected

    def _tolerations(self, machines):
        tainted = ["google.com/tpu"] if machines.tpu else ["nvidia.com/gpu"]
        keys = [*tainted, *(["cloud.google.com/gke-spot"] if self.spot else [])]
        return {"tolerations": [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys]}

    def _container(self, job, machines):
        meeting = processes(machines, job.name, _REPLICATED, "$(JOB_COMPLETION_INDEX)")
        index = ["--index=$(JOB_COMPLETION_INDEX)"] if job.array else []
        mounts = [{"name": "shared", "mountPath": self.mount}]
        if not machines.tpu:
            mounts.append({"name": "memory", "mountPath": "/dev/shm"})
        return {
            "name": "cloze",
            "image": self.image,
            "command": [*map(literal, job.installed), *meeting, *index],
            "resources": {"limits": {"google.com/tpu" if machines.tpu else "nvidia.com/gpu": machines.chips}},
            "volumeMounts": mounts,
        }
