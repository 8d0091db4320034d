"""cuDNN's fused attention on NVIDIA GPUs, through jax.nn.dot_product_attention."""

from cloze.models.backends.choice import BACKENDS
from cloze.models.backends.xla import XLA


@BACKENDS.register("cudnn")
class CuDNN(XLA):
    """Whole rows: all keys, causal, causal with a window, with a bias that rows share. Limits are those of JAX 0.10.

    cuDNN can drop probabilities out, but not here: JAX makes its seed a constant of the compiled program, so bits could
    not follow from the seed and step of a run. Segments of packed rows it takes only below JAX's public interface.
    """

    platforms = ("gpu",)
    implementation = "cudnn"

    def cannot(self, case):
        """See Backend."""
        widest = 256 if case.capability and case.capability >= (9, 0) else 128
        if case.capability and case.capability < (8, 0):
            return "needs compute capability 8.0"
        if case.dropout:
            return "has no attention dropout whose bits follow from seed and step"
        if case.softcap:
            return "has no soft cap"
        if case.dtype not in ("bfloat16", "float16"):
            return f"needs bfloat16, got {case.dtype}"
        if case.head_dim % 8 or case.head_dim > widest:
            return f"needs heads of a multiple of 8 up to {widest}, got {case.head_dim}"
        if case.bias_rows > 1 or (case.bias_rows and (case.queries % 2 or case.keys % 2)):
            return "differentiates a bias only if rows share it and lengths are even"
        return "does not run on rows cut along mesh.sequence" if case.length_cuts > 1 else None

    def slow(self, case):
        """See Backend."""
        if case.segments or case.ranks or case.prefix or (case.window and not case.causal):
            what = "segments" if case.segments else "ranks" if case.ranks else "two-sided windows"
            return f"reads {'a prefix' if case.prefix else what} as an array of masks"
        return None
