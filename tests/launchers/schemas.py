"""Fields of a JobSet with the types that its published definition gives them; any other field is an error.

From config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml of kubernetes-sigs/jobset, which holds those of batch/v1
Job and of pods as well. A name that ends in ! is required. Where the definition has more fields of a pod than a
launcher would ever write, they are left out here. Fields of pods and containers are those of core/v1, written
down without the file at hand.
"""

WORDS = {str: str}  # an object of texts
QUANTITY = (int, str)
CODES = {"containerName": str, "operator!": {"In", "NotIn"}, "values!": [int]}
CONTAINER = {
    "name!": str, "image": str, "command": [str], "args": [str], "workingDir": str,
    "env": [{"name!": str, "value": str}],
    "ports": [{"containerPort!": int, "name": str, "protocol": str}],
    "resources": {"limits": {str: QUANTITY}, "requests": {str: QUANTITY}},
    "volumeMounts": [{"name!": str, "mountPath!": str, "readOnly": bool, "subPath": str}],
}  # fmt: skip
POD = {
    "restartPolicy": {"Never", "OnFailure"}, "terminationGracePeriodSeconds": int, "serviceAccountName": str,
    "nodeSelector": WORDS, "hostNetwork": bool, "dnsPolicy": str, "priorityClassName": str, "subdomain": str,
    "tolerations": [{"key": str, "operator": {"Exists", "Equal"}, "value": str,
                     "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"}}],
    "containers!": [CONTAINER],
    "volumes": [{"name!": str, "persistentVolumeClaim": {"claimName!": str, "readOnly": bool},
                 "emptyDir": {"medium": str, "sizeLimit": QUANTITY}}],
}  # fmt: skip
METADATA = {"name": str, "namespace": str, "labels": WORDS, "annotations": WORDS}
JOB = {
    "activeDeadlineSeconds": int, "backoffLimit": int, "backoffLimitPerIndex": int,
    "completionMode": {"Indexed", "NonIndexed"}, "completions": int, "managedBy": str, "manualSelector": bool,
    "maxFailedIndexes": int, "parallelism": int, "podReplacementPolicy": {"Failed", "TerminatingOrFailed"},
    "suspend": bool, "ttlSecondsAfterFinished": int,
    "podFailurePolicy": {"rules!": [{"action!": {"FailJob", "FailIndex", "Ignore", "Count"}, "onExitCodes": CODES,
                                     "onPodConditions": [{"type!": str, "status!": str}]}]},
    "template!": {"metadata": METADATA, "spec": POD},
}  # fmt: skip
JOBSET = {
    "apiVersion!": {"jobset.x-k8s.io/v1alpha2"}, "kind!": {"JobSet"}, "metadata!": METADATA,
    "spec!": {
        "coordinator": {"jobIndex": int, "podIndex": int, "replicatedJob!": str},
        "failurePolicy": {
            "maxRestarts": int, "restartStrategy": {"Recreate", "BlockingRecreate"},
            "rules": [{"name!": str, "action!": {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"},
                       "onJobFailureReasons": [str], "targetReplicatedJobs": [str]}],
        },
        "managedBy": str,
        "network": {"enableDNSHostnames": bool, "publishNotReadyAddresses": bool, "subdomain": str},
        "replicatedJobs": [{"name!": str, "groupName": str, "replicas": int,
                            "dependsOn": [{"name!": str, "status!": {"Ready", "Complete"}}],
                            "template!": {"metadata": METADATA, "spec": JOB}}],
        "startupPolicy": {"startupPolicyOrder!": {"AnyOrder", "InOrder"}},
        "suspend": bool, "ttlSecondsAfterFinished": int,
    },
}  # fmt: skip


def faults(value, schema, where=""):
    """What of a document is not as a schema has it."""
    if isinstance(schema, set):
        return [] if value in schema else [f"{where}: {value!r}"]
    if isinstance(schema, (type, tuple)):
        kinds = schema if isinstance(schema, tuple) else (schema,)
        return [] if type(value) in kinds else [f"{where}: {value!r} is no {schema}"]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [fault for i, item in enumerate(value) for fault in faults(item, schema[0], f"{where}[{i}]")]
    if not isinstance(value, dict):
        return [f"{where}: no object"]
    if str in schema:
        return [fault for key, item in value.items() for fault in faults(item, schema[str], f"{where}.{key}")]
    known = {key.removesuffix("!"): kind for key, kind in schema.items()}
    found = [f"{where}.{key[:-1]} is missing" for key in schema if key.endswith("!") and key[:-1] not in value]
    for key, item in value.items():
        found += faults(item, known[key], f"{where}.{key}") if key in known else [f"{where}.{key} is unknown"]
    return found
