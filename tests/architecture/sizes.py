"""What is too long to be read at once: modules and functions, measured in lines of code."""

import ast
from collections.abc import Iterator

MODULE_LINES = 500
FUNCTION_LINES = 40

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def oversize(name: str, source: str) -> Iterator[str]:
    """Yield a sentence for the module, and each of its functions, that is over the limit.

    Args:
        name: path to name in the sentences.
        source: text of the module. A function's docstring, comments and empty lines do not count.
    """
    lines = source.splitlines()
    if len(lines) > MODULE_LINES:
        yield f"{name}: {len(lines)} lines, at most {MODULE_LINES}: split it"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _Function) and (length := _code_lines(node, lines)) > FUNCTION_LINES:
            yield f"{name}:{node.lineno}: {node.name} has {length} lines of code, at most {FUNCTION_LINES}"


def _code_lines(function: _Function, lines: list[str]) -> int:
    """Return the number of lines from `def` to the end that hold code."""
    documented = range(0)
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        documented = range(first.lineno, (first.end_lineno or first.lineno) + 1)
    wanted = range(function.lineno, (function.end_lineno or function.lineno) + 1)
    texts = (lines[number - 1].strip() for number in wanted if number not in documented)
    return sum(1 for text in texts if text and not text.startswith("#"))
