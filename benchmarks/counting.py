"""How often XLA compiled, and how often a compiled program was launched."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """Fill a list with the seconds of every compilation in this process."""
    seconds: list[float] = []

    def listen(event: str, duration_secs: float, **details: Any) -> None:
        if event == _COMPILED:
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@contextlib.contextmanager
def launches() -> Iterator[list[str]]:
    """Fill a list with the name of every call of a function jitted meanwhile.

    Calls inside of another jitted function are traced into it and do not count.
    """
    called: list[str] = []
    is_over = False
    jit = jax.jit

    def counting_jit(f: Any, *args: Any, **options: Any) -> Any:
        jitted = jit(f, *args, **options)

        def call(*operands: Any, **named: Any) -> Any:
            leaves = jax.tree.leaves((operands, named))
            is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
            if not is_traced and not is_over:
                called.append(f.__name__)
            return jitted(*operands, **named)

        return call

    with mock.patch.object(jax, "jit", counting_jit):
        yield called
    is_over = True
