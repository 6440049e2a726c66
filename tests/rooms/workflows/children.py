"""What a child process imports."""

from __future__ import annotations

from typing import Any

from perdure import App, Context, RetryAfter

app = App("children")


@app.task(run_in="process")
def factorise(number: int) -> list[int]:
    """The prime factors."""
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


@app.task(run_in="process")
def pay_in_child(ctx: Context) -> None:
    """Would end its job with what it writes."""
    with ctx.transaction():
        pass


@app.task(run_in="process")
def busy_in_child(ctx: Context, how: str) -> Any:
    """Asks to wait, and is through then."""
    if ctx.attempt > 1:
        return "through"
    if how == "raised":
        raise RetryAfter(0.01)
    return RetryAfter(0.01)


@app.task(run_in="process", version=2)
def key_in_child(ctx: Context, number: int) -> list[Any]:
    """What a step in a child process knows of itself."""
    return [ctx.idempotency_key, ctx.attempt, ctx.context.tenant, number]


@key_in_child.upgrade(1)  # type: ignore[untyped-decorator]
def _doubled(words: dict[str, Any]) -> dict[str, Any]:
    return {"number": words["number"] * 2}
