"""The public names of torch's own types, as torch 2.13 has them and older ones had, and the nearest right one."""

from __future__ import annotations

import difflib

TENSOR_PROPERTIES = frozenset(
    """
    H T data device dtype grad grad_dtype grad_fn imag is_cpu is_cuda is_ipu is_leaf is_maia is_meta is_mkldnn is_mps
    is_mtia is_nested is_quantized is_sparse is_sparse_csr is_vulkan is_xla is_xpu itemsize layout mH mT name nbytes
    ndim output_nr real requires_grad retains_grad shape
    """.split()
)
TENSOR_METHODS = frozenset(
    """
    abs abs_ absolute absolute_ acos acos_ acosh acosh_ add add_ addbmm addbmm_ addcdiv addcdiv_ addcmul addcmul_
    addmm addmm_ addmv addmv_ addr addr_ adjoint all allclose amax amin aminmax angle any apply_ arccos arccos_
    arccosh arccosh_ arcsin arcsin_ arcsinh arcsinh_ arctan arctan2 arctan2_ arctan_ arctanh arctanh_ argmax argmin
    argsort argwhere as_strided as_strided_ as_strided_scatter as_subclass asin asin_ asinh asinh_ atan atan2 atan2_
    atan_ atanh atanh_ backward baddbmm baddbmm_ bernoulli bernoulli_ bfloat16 bincount bitwise_and bitwise_and_
    bitwise_left_shift bitwise_left_shift_ bitwise_not bitwise_not_ bitwise_or bitwise_or_ bitwise_right_shift
    bitwise_right_shift_ bitwise_xor bitwise_xor_ bmm bool broadcast_to btrifact byte cauchy_ ccol_indices cdouble
    ceil ceil_ cfloat chalf char cholesky cholesky_inverse cholesky_solve chunk clamp clamp_ clamp_max clamp_max_
    clamp_min clamp_min_ clip clip_ clone coalesce col_indices conj conj_physical conj_physical_ const_data_ptr
    contiguous copy_ copysign copysign_ corrcoef cos cos_ cosh cosh_ count_nonzero cov cpu cross crow_indices cuda
    cummax cummin cumprod cumprod_ cumsum cumsum_ data_ptr deg2rad deg2rad_ dense_dim dequantize det detach detach_
    diag diag_embed diagflat diagonal diagonal_scatter diff digamma digamma_ dim dim_order dist div div_ divide
    divide_ dot double dsplit eig element_size eq eq_ equal erf erf_ erfc erfc_ erfinv erfinv_ exp exp2 exp2_ exp_
    expand expand_as expm1 expm1_ exponential_ fill_ fill_diagonal_ fix fix_ flatten flip fliplr flipud float
    float_power float_power_ floor floor_ floor_divide floor_divide_ fmax fmin fmod fmod_ frac frac_ frexp gather gcd
    gcd_ ge ge_ gels geometric_ geqrf ger get_device greater greater_ greater_equal greater_equal_ gt gt_ half
    hardshrink hash_tensor heaviside heaviside_ histc histogram hsplit hypot hypot_ i0 i0_ igamma igamma_ igammac
    igammac_ index index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_put index_put_
    index_reduce index_reduce_ index_select indices inner int int_repr inverse ipu is_coalesced is_complex is_conj
    is_contiguous is_distributed is_floating_point is_inference is_neg is_nonzero is_pinned is_same_size is_set_to
    is_shared is_signed isclose isfinite isinf isnan isneginf isposinf isreal istft item kron kthvalue lcm lcm_ ldexp
    ldexp_ le le_ lerp lerp_ less less_ less_equal less_equal_ lgamma lgamma_ log log10 log10_ log1p log1p_ log2 log2_
    log_ log_normal_ log_softmax logaddexp logaddexp2 logcumsumexp logdet logical_and logical_and_ logical_not
    logical_not_ logical_or logical_or_ logical_xor logical_xor_ logit logit_ logsumexp long lstsq lt lt_ lu lu_solve
    map2_ map_ masked_copy_ masked_fill masked_fill_ masked_scatter masked_scatter_ masked_select matmul matrix_exp
    matrix_power max maximum mean median min minimum mm mode module_load moveaxis movedim msort mtia mul mul_
    multinomial multiply multiply_ mv mvlgamma mvlgamma_ nan_to_num nan_to_num_ nanmean nanmedian nanquantile nansum
    narrow narrow_copy ndimension ne ne_ neg neg_ negative negative_ nelement new new_empty new_empty_strided new_full
    new_ones new_tensor new_zeros nextafter nextafter_ nonzero nonzero_static norm normal_ not_equal not_equal_ numel
    numpy orgqr ormqr outer permute pin_memory pinverse polygamma polygamma_ positive potrf pow pow_ prelu prod put
    put_ q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qr qscheme quantile
    rad2deg rad2deg_ random_ ravel reciprocal reciprocal_ record_stream register_hook
    register_post_accumulate_grad_hook reinforce relu relu_ remainder remainder_ renorm renorm_ repeat
    repeat_interleave requires_grad_ reshape reshape_as resize resize_ resize_as resize_as_ resize_as_sparse_
    resolve_conj resolve_neg retain_grad roll rot90 round round_ row_indices rsqrt rsqrt_ scatter scatter_ scatter_add
    scatter_add_ scatter_reduce scatter_reduce_ select select_scatter set_ sgn sgn_ share_memory_ short sigmoid
    sigmoid_ sign sign_ signbit sin sin_ sinc sinc_ sinh sinh_ size slice_inverse slice_scatter slogdet smm softmax
    solve sort sparse_dim sparse_mask sparse_resize_ sparse_resize_and_clear_ split split_with_sizes sqrt sqrt_ square
    square_ squeeze squeeze_ sspaddmm std stft storage storage_offset storage_type stride sub sub_ subtract subtract_
    sum sum_to_size svd swapaxes swapaxes_ swapdims swapdims_ symeig t t_ take take_along_dim tan tan_ tanh tanh_
    tensor_split tile to to_dense to_mkldnn to_padded_tensor to_sparse to_sparse_bsc to_sparse_bsr to_sparse_coo
    to_sparse_csc to_sparse_csr tolist topk trace transpose transpose_ triangular_solve tril tril_ triu triu_
    true_divide true_divide_ trunc trunc_ type type_as unbind unflatten unfold uniform uniform_ unique
    unique_consecutive unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_ untyped_storage values
    var vdot view view_as volatile vsplit where xlogy xlogy_ xpu zero_
    """.split()
)
MODULE_METHODS = frozenset(
    """
    add_module append apply bfloat16 buffers check_forward_args check_hidden_size check_input children clear
    cls_to_become compile convert_sync_batchnorm copy cpu cuda double eval extend extra_repr flatten_parameters float
    forward from_pretrained fromkeys gather generate_square_subsequent_mask get get_buffer get_expected_cell_size
    get_expected_hidden_size get_extra_state get_parameter get_submodule half has_uninitialized_params
    initialize_parameters insert ipu items keys load_state_dict log_prob merge_masks modules mtia named_buffers
    named_children named_modules named_parameters parallel_apply parameters permute_hidden pop popitem predict
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook replicate
    requires_grad_ reset_parameters reset_running_stats scatter set_extra_state set_submodule setdefault share_memory
    state_dict to to_empty train type update values xpu zero_grad
    """.split()
)
OPTIMIZER_METHODS = frozenset(
    """
    OptimizerPostHook OptimizerPreHook add_param_group load_state_dict profile_hook_step
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_state_dict_post_hook
    register_state_dict_pre_hook register_step_post_hook register_step_pre_hook state_dict step zero_grad
    """.split()
)
OPTIMIZER_NAMES = OPTIMIZER_METHODS | {"param_groups", "state", "defaults"}

# What people call them who come from elsewhere.
_MEANT = {
    "evaluate": "eval",
    "evaluation": "eval",
    "training": "train",
    "clear_grad": "zero_grad",
    "clear_grads": "zero_grad",
    "zero_gradients": "zero_grad",
    "zero_gradient": "zero_grad",
    "backprop": "backward",
    "backpropagate": "backward",
    "params": "parameters",
    "copy": "clone",
    "astype": "type",
    "load_weights": "load_state_dict",
    "load_state": "load_state_dict",
}
_KINDS = {"tensor": TENSOR_METHODS, "module": MODULE_METHODS, "optimizer": OPTIMIZER_METHODS}
_ALL = {
    "tensor": TENSOR_METHODS | TENSOR_PROPERTIES,
    "module": MODULE_METHODS | {"training"},
    "optimizer": OPTIMIZER_NAMES,
}
_ALIKE = 0.8  # of 1: `backwards` and `backward` are 0.94 alike, `trian` and `train` 0.8


_ALIKE_FLAG = 0.85


def like_requires_grad(name: str) -> bool:
    """Whether a name is a misspelling of `requires_grad`."""
    if name[:2] != "re" or "gra" not in name.replace("gar", "gra") or name in ("requires_grad", "requires_grad_"):
        return False
    return difflib.SequenceMatcher(None, name, "requires_grad").ratio() >= _ALIKE_FLAG


def exists(kind: str, name: str) -> bool:
    """Whether a tensor, a module or an optimizer has an attribute of that name."""
    return name in _ALL[kind]


def nearest(kind: str, name: str) -> str:
    """The method that is meant by a name that does not exist; "" when none is near."""
    if name in _ALL[kind] or name.startswith("__"):
        return ""
    meant = _MEANT.get(name, "")
    if meant in _KINDS[kind]:
        return meant
    close = difflib.get_close_matches(name, sorted(_KINDS[kind]), n=1, cutoff=_ALIKE)
    return close[0] if close else ""


# Where a graph can end because the step has no gradient, or a gradient that is zero everywhere.
_STEPS = ("argmax", "argmin", "argsort", "round", "floor", "ceil", "trunc", "sign", "any", "all", "nonzero")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "isclose", "logical_and", "logical_or", "logical_not")
_CASTS = ("long", "int", "short", "bool", "byte", "char")
NON_DIFFERENTIABLE = frozenset(
    {
        *(f"{prefix}{name}" for name in (*_STEPS, *_COMPARISONS, *_CASTS) for prefix in ("", "torch.")),
        *(f"torch.{name}" for name in ("int8", "int16", "int32", "int64", "uint8")),
        *("==", "!=", "<", "<=", ">", ">="),
    }
)
