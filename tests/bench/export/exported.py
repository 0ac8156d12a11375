"""Reads what `dynbatch export` writes, with no more than this environment has.

Each reader gives back the values that matter as a dict; it fails on what is not well formed. The
servers' own readers are asked by `make check-exports`.
"""

import ast
import re

import pytest

_TOKEN = re.compile(r'[{}\[\],:]|[A-Za-z_]\w*|-?\d+|"[^"]*"')


def read(name, text):
    """The values in an export for the server of that name."""
    return READERS[name](text)


def body(text):
    """The text without whole-line comments."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def pbtxt(text):
    """Protobuf's text format: nested messages, scalars, lists; a repeated key is an error."""
    tokens = []
    for line in body(text).splitlines():
        assert not _TOKEN.sub("", line).strip(), f"unknown in pbtxt: {line}"
        tokens += _TOKEN.findall(line)
    message, rest = _message(tokens)
    assert not rest
    return message


def _message(tokens):
    fields = {}
    while tokens and tokens[0] != "}":
        name, *tokens = tokens
        if tokens[0] == ":":
            tokens = tokens[1:]
        value, tokens = _value(tokens)
        assert name not in fields, f"{name} is there twice"
        fields[name] = value
        if tokens[:1] == [","]:
            tokens = tokens[1:]
    return fields, tokens


def _value(tokens):
    first, *tokens = tokens
    if first == "{":
        message, tokens = _message(tokens)
        assert tokens[0] == "}"
        return message, tokens[1:]
    if first == "[":
        items = []
        while tokens[0] != "]":
            item, tokens = _value(tokens)
            items.append(item)
            if tokens[0] == ",":
                tokens = tokens[1:]
        return items, tokens[1:]
    return (int(first) if first.lstrip("-").isdigit() else first), tokens


def python(text):
    """Keyword arguments of every call and decorator in a Python file, by the function's name."""
    compile(text, "exported.py", "exec")
    calls = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            for keyword in node.keywords:
                try:
                    value = ast.literal_eval(keyword.value)
                except ValueError:
                    value = ast.unparse(keyword.value)
                calls.setdefault(name, {})[keyword.arg] = value
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            calls[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
    return calls


def yaml(text):
    """A YAML file, by PyYAML."""
    return pytest.importorskip("yaml").safe_load(text)


READERS = {
    "triton": pbtxt,
    "ray-serve": python,
    "litserve": python,
    "bentoml": python,
    "torchserve": yaml,
    "dynbatch": python,
}
