"""What a child process imports."""

from __future__ import annotations

from perdure import App

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
