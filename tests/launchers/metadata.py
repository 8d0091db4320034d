"""The metadata server of a Cloud TPU VM, for scripts under test."""

# A `curl` that answers from the environment: WORKERS, NUMBER, and SETTINGS, the lines of tpu-env.
CURL = """\
case ${!#} in
  */worker-network-endpoints) printf '%s' "$WORKERS" ;;
  */agent-worker-number) printf '%s' "$NUMBER" ;;
  */tpu-env) printf '%s\\n' "$SETTINGS" ;;
  *) exit 22 ;;
esac"""
