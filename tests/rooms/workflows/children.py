"""What a child process imports."""

from __future__ import annotations

from perdure import App, Context

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
