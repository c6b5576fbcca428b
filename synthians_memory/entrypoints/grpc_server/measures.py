"""What the service measures of its calls, through the API of OpenTelemetry.

It exports nothing: without an SDK in the program that embeds or wraps the service, the numbers go nowhere.
"""

from __future__ import annotations

from opentelemetry import metrics

__all__ = ["Measures"]


class Measures:
    """Counters and times of calls, by method and status; thread-safe.

    Args:
        provider: whose meter it is; None: the program's.
    """

    def __init__(self, provider: metrics.MeterProvider | None = None) -> None:
        meter = metrics.get_meter("synthians_memory.service", meter_provider=provider)
        self._calls = meter.create_counter("synthians_memory.service.calls", description="Calls that ended.")
        self._seconds = meter.create_histogram(
            "synthians_memory.service.call.duration", unit="s", description="From the handler's start to its end."
        )
        self._active = meter.create_up_down_counter(
            "synthians_memory.service.calls.active", description="Calls under way."
        )

    def began(self, method: str) -> None:
        """A call of `method` is under way."""
        self._active.add(1, {"rpc.method": method})

    def ended(self, method: str, status: str, seconds: float) -> None:
        """A call that began has ended with the status of that name."""
        self._active.add(-1, {"rpc.method": method})
        self._calls.add(1, {"rpc.method": method, "rpc.grpc.status": status})
        self._seconds.record(seconds, {"rpc.method": method, "rpc.grpc.status": status})

    def refused(self, method: str, status: str) -> None:
        """A call was turned away before it began."""
        self._calls.add(1, {"rpc.method": method, "rpc.grpc.status": status})
