"""Figure 3: 200 callers in 4 processes spend one run's hard budget of $1.00 as fast as they can.

Each caller calls until it is refused. What was spent is the provider's own count of tokens at the model's price, in integer
micro-dollars: nothing that the gateway says of itself. What the gateway counted stands beside it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from bench.gateway.fleet import behave, fleet
from bench.gateway.member import Job
from bench.rig.programs import load_average, provider, running, url, valkey
from bench.rig.table import show
from common.errors import BudgetExhausted

_PROCESSES, _CALLERS = 4, 50
_BUDGET_MICROUSD = 1_000_000
_INPUT_MICROUSD, _OUTPUT_MICROUSD = 5, 25  # a token
_DONE_WITHIN_S = 120.0


def run() -> dict[str, float]:
    """Figures ``budget_...``. About 10 s."""
    load = load_average()
    with TemporaryDirectory(prefix="knudge-bench-") as name:
        folder = Path(name)
        store, model = valkey(folder), provider("model", "simulator")
        prices = {"input_per_mtok_usd": _INPUT_MICROUSD, "output_per_mtok_usd": _OUTPUT_MICROUSD}
        config = {
            "providers": {"lab": {"kind": "simulator", "base_url": f"{url(model)}/v1"}},
            "models": {"lab:judge": {"timeout_s": 10.0, "price": prices}},
            "budgets": {"runs": {"default_usd": _BUDGET_MICROUSD / 1_000_000}},
        }
        job = Job(
            f"redis://127.0.0.1:{store.port}/0",
            config,
            ["lab:judge"],
            callers=_CALLERS,
            max_tokens=256,
            words=200,
            enough=[BudgetExhausted.code],
            origin={"run_id": "run"},
        )
        with running([store, model], folder), fleet(job, _PROCESSES) as members:
            behave(url(model), latency_ms=50, jitter_ms=50)
            members.go()
            made = members.wait(within_s=_DONE_WITHIN_S)
            stats = httpx.get(f"{url(model)}/stats").json()
    spent = stats["prompt_tokens"] * _INPUT_MICROUSD + stats["completion_tokens"] * _OUTPUT_MICROUSD
    figures: dict[str, float] = {
        "budget_spent_microusd": spent,
        "budget_counted_microusd": sum(call.cost_microusd or 0 for call in made),
        "budget_use": spent / _BUDGET_MICROUSD,
        "budget_calls": stats["answered"],
    }
    show([f"budget, {_PROCESSES * _CALLERS} callers, load {load:.2f}", "value"], [[name, figures[name]] for name in figures])
    print(f"  {dict(Counter(call.code for call in made))}")
    return figures
