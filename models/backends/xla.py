"""jax.nn.dot_product_attention as XLA compiles it. `auto` never takes it: einsum is the same and does more."""

import jax

from cloze.models.backends.choice import BACKENDS, Backend


@BACKENDS.register("xla")
class XLA(Backend):
    """The library's function without a kernel."""

    implementation = "xla"

    def cannot(self, case):
        """See Backend."""
        if case.dropout:
            return "has no attention dropout"
        return "has no soft cap" if case.softcap else None

    def compute(self, q_BTHE, k_BSKE, v_BSKE, visibility, *, bias, scale, softcap, dropout, key):
        """See Backend."""
        T, S = q_BTHE.shape[1], k_BSKE.shape[1]
        whole, window = visibility.is_causal, None
        if self.implementation == "cudnn" and visibility.is_causal_window:
            whole, window = True, (visibility.window - 1, 0)
        mask = None if whole else visibility.mask(T, S)
        out_BTHE = jax.nn.dot_product_attention(
            q_BTHE,
            k_BSKE,
            v_BSKE,
            bias=None if bias is None else bias.astype(q_BTHE.dtype),
            mask=None if mask is None else mask[:, None],
            scale=scale,
            is_causal=whole,
            local_window_size=window,
            implementation=self.implementation,
        )
        return visibility.zero_blind(out_BTHE, mask)
