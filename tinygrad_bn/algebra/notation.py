"""Write formulas of arrays: as text, in LaTeX, in MathML."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from tinygrad_bn.algebra.shown import (
    Bound,
    Call,
    Matrix,
    Power,
    Product,
    Shown,
    Sign,
    Sum,
    Transposed,
    is_scalar,
)
from tinygrad_bn.algebra.terms import HALF, decimal

COMPARE, ADD, MULTIPLY, POWER, ATOM = range(5)
"""How strongly a part binds: one that binds less than its place needs is put in brackets."""

COMPARES = {
    "greater": (">", ">", ">"),
    "less": ("<", "<", "<"),
    "greater_equal": (">=", r"\ge", "≥"),
    "less_equal": ("<=", r"\le", "≤"),
    "equal": ("==", "=", "="),
    "not_equal": ("!=", r"\ne", "≠"),
    "bitwise_and": ("&", r"\wedge", "∧"),
    "logical_and": ("&", r"\wedge", "∧"),
}
"""What stands between its two operands: in text, LaTeX and MathML."""


def _is_comparison(call: Call) -> bool:
    return call.name in COMPARES and len(call.operands) == 2


# text --------------------------------------------------------------------------------------------


def text(shown: Shown) -> str:
    """Write a formula as text in NumPy's notation."""
    return _text(shown)[0]


def _number(value: Any) -> str:
    if isinstance(value, Fraction):
        return decimal(value)
    return "None" if value is None else str(value)


def _text(shown: Shown) -> tuple[str, int]:
    if isinstance(shown, Sign):
        written = _number(shown.value)
        return written, ATOM if "/" not in written and not written.startswith("-") else MULTIPLY
    if isinstance(shown, Sum):
        return _signed(shown, _in), ADD
    if isinstance(shown, Product):
        return _text_product(shown), MULTIPLY
    if isinstance(shown, Power):
        if shown.exponent == HALF:
            return f"sqrt({text(shown.base)})", ATOM
        exponent = _number(shown.exponent)
        exponent = f"({exponent})" if "/" in exponent else exponent
        return f"{_in(shown.base, ATOM)}**{exponent}", POWER
    if isinstance(shown, Call):
        if _is_comparison(shown):
            sign = COMPARES[shown.name][0]
            return f" {sign} ".join(_in(o, MULTIPLY) for o in shown.operands), COMPARE
        axis = f"axis={shown.axes if ',' not in shown.axes else f'({shown.axes})'}"
        inside = [*map(text, shown.operands), *([axis] if shown.axes else []), *shown.parameters]
        return f"{shown.name}({', '.join(inside)})", ATOM
    if isinstance(shown, Bound):
        return f"{shown.name}_{''.join(shown.letters)}({text(shown.body)})", ATOM
    if isinstance(shown, Matrix):
        return f"{_in(shown.left, _side_level(shown.left))} @ {_in(shown.right, POWER)}", MULTIPLY
    if isinstance(shown, Transposed):
        return f"{_in(shown.of, ATOM)}.{'mT' if shown.several else 'T'}", ATOM
    return f"{_in(shown.of, ATOM)}[{', '.join(map(text, shown.places))}]", ATOM


def _signed(shown: Sum, inside: Callable[[Shown, int], str]) -> str:
    """Set items side by side with plus and minus."""
    out = ""
    for minus, item in shown.items:
        part = inside(item, MULTIPLY if minus else ADD)
        out += (f" {'-' if minus else '+'} " if out else "-" * minus) + part
    return out


def _in(shown: Shown, level: int) -> str:
    """Write a part, in brackets if it binds less than its place needs."""
    written, own = _text(shown)
    return written if own >= level else f"({written})"


def _text_product(shown: Product) -> str:
    if not shown.above and len(shown.last) == 1 and isinstance(shown.last[0], Matrix):
        return text(shown.last[0]) + "".join(f"/{_in(p, POWER)}" for p in shown.below)
    above = "*".join(_in(p, POWER) for p in shown.above)
    if not shown.above and shown.below:
        above = "1"
    out = above
    for part in shown.below:
        out += f"/{_in(part, POWER)}"
    for part in shown.last:
        out += ("*" if out else "") + _in(part, _last_level(shown, part))
    return out


def _side_level(side: Shown) -> int:
    """How strongly a factor of a matrix product binds: products of arrays need brackets."""
    if not isinstance(side, Product):
        return MULTIPLY
    arrays = [p for p in (*side.above, *side.below, *side.last) if not is_scalar(p)]
    return POWER if len(arrays) > 1 else MULTIPLY


def _last_level(product: Product, part: Shown) -> int:
    """How strongly the last factor binds: numbers in front of a matrix product need no brackets."""
    before = (*product.above, *product.below, *(p for p in product.last if p is not part))
    numbers = all(isinstance(p, Sign) and p.scalar for p in before)
    return MULTIPLY if isinstance(part, Matrix) and numbers else POWER


# LaTeX -------------------------------------------------------------------------------------------

GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda"),
    *("mu", "nu", "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
)
MATHS = {"exp": r"\exp", "log": r"\log", "tanh": r"\tanh", "sin": r"\sin", "cos": r"\cos"}


def latex(shown: Shown) -> str:
    """Write a formula in LaTeX (amsmath)."""
    return _latex(shown)[0]


def latex_name(name: str) -> str:
    """Write a name in LaTeX: Greek letters, hats and subscripts."""
    if name.endswith("_hat"):
        return rf"\hat{{{latex_name(name[:-4])}}}"
    if name.isdigit() or name == ":":
        return name
    stem, index = _indexed(name)
    if index:
        return rf"{latex_name(stem)}_{{{latex_name(index)}}}"
    if stem in GREEK or stem in SHORT:
        return f"\\{SHORT.get(stem, stem)}"
    return stem if len(stem) == 1 and stem.isalpha() else rf"\mathrm{{{escaped(stem)}}}"


SHORT = {"lam": "lambda", "eps": "varepsilon", "ell": "ell"}


def _indexed(name: str) -> tuple[str, str]:
    """Split a letter and its index, ``x_1`` or ``W1``; a name of words is one: cross_entropy."""
    stem, _, index = name.partition("_")
    if not index and len(name.rstrip(DIGITS)) == 1:
        stem, index = name[0], name[1:]
    return (stem, index) if index and (len(stem) == 1 or stem in GREEK) else (name, "")


DIGITS = "0123456789"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\^{}",
    "~": r"\~{}",
    **{symbol: "\\" + symbol for symbol in "_%&#${}"},
}


def escaped(words: str) -> str:
    """Write words in LaTeX, whatever symbols they contain."""
    return "".join(SPECIAL.get(symbol, symbol) for symbol in words)


def _latex(shown: Shown) -> tuple[str, int]:
    if isinstance(shown, Sign):
        return _latex_sign(shown.value)
    if isinstance(shown, Sum):
        return _signed(shown, _latex_in), ADD
    if isinstance(shown, Product):
        return _latex_product(shown), MULTIPLY
    if isinstance(shown, Power):
        if shown.exponent == HALF:
            return rf"\sqrt{{{latex(shown.base)}}}", ATOM
        return rf"{_latex_in(shown.base, ATOM)}^{{{_latex_sign(shown.exponent)[0]}}}", POWER
    if isinstance(shown, Call):
        return _latex_call(shown)
    if isinstance(shown, Matrix):
        sides = [_latex_in(p, _side_level(p)) for p in (shown.left, shown.right)]
        return " ".join(sides), MULTIPLY
    if isinstance(shown, Transposed):
        return rf"{_latex_in(shown.of, ATOM)}^{{\top}}", POWER
    if isinstance(shown, Bound):
        return _latex_bound(shown), ATOM
    of = _latex_in(shown.of, ATOM)
    of = f"{{{of}}}" if "_" in of else of  # a second index below a first
    return rf"{of}_{{{', '.join(map(latex, shown.places))}}}", ATOM


def _latex_bound(shown: Bound) -> str:
    letters = ", ".join(map(latex_name, shown.letters))
    signs = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}
    name = signs.get(shown.name, rf"\operatorname{{{shown.name}}}")
    return rf"{name}_{{{letters}}} \left({latex(shown.body)}\right)"


def _latex_sign(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        return latex_name(value), ATOM
    if isinstance(value, Fraction):
        return _latex_number(value), ATOM if value >= 0 else MULTIPLY
    named = {"inf": r"\infty", "-inf": r"-\infty", "nan": r"\mathrm{NaN}"}
    return named.get(str(value), rf"\mathrm{{{value}}}"), ATOM


def _latex_number(value: Fraction) -> str:
    written = decimal(value)
    if "/" in written:
        sign = "-" if value < 0 else ""
        return rf"{sign}\tfrac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    mantissa, _, exponent = written.partition("e")
    power = rf"10^{{{int(exponent)}}}" if exponent else ""
    if mantissa in ("1", "1.0") and power:
        return power
    return rf"{mantissa} \cdot {power}" if power else mantissa


def _latex_call(shown: Call) -> tuple[str, int]:
    if _is_comparison(shown):
        sides = [_latex_in(o, MULTIPLY) for o in shown.operands]
        return f" {COMPARES[shown.name][1]} ".join(sides), COMPARE
    if shown.name == "where":
        c, a, b = (latex(o) for o in shown.operands)
        return rf"\begin{{cases}} {a} & {c} \\ {b} & \text{{otherwise}} \end{{cases}}", ATOM
    if shown.name == "abs":
        return rf"\left| {latex(shown.operands[0])} \right|", ATOM
    name = MATHS.get(shown.name, rf"\operatorname{{{escaped(shown.name)}}}")
    if shown.axes:
        name += rf"_{{{shown.axes}}}"
    given = [latex_name(p.replace("=", " = ")) for p in shown.parameters]
    operands = ", ".join([*map(latex, shown.operands), *given])
    return rf"{name}\left({operands}\right)", ATOM


def _latex_in(shown: Shown, level: int) -> str:
    written, own = _latex(shown)
    return written if own >= level else rf"\left({written}\right)"


SIGNS = (r" \, ", r" \odot ")


def _latex_product(shown: Product) -> str:
    whole = bool(shown.below) and len(shown.above) == 1
    parts = [latex(p) if whole else _latex_in(p, POWER) for p in shown.above]
    out = "".join(_joined(shown, shown.above, parts, SIGNS))
    if shown.below:
        single = len(shown.below) == 1
        below = [latex(p) if single else _latex_in(p, POWER) for p in shown.below]
        under = "".join(_joined(shown, shown.below, below, SIGNS))
        out = rf"\frac{{{out or '1'}}}{{{under}}}"
    first = [out] if out else []
    written = [_latex_in(p, _last_level(shown, p)) for p in shown.last]
    before = _whole_of(shown)
    pieces = _joined(shown, (*before, *shown.last), [*first, *written], (" ", SIGNS[1]))
    return "".join(pieces)


def _whole_of(shown: Product) -> tuple[Shown, ...]:
    """Return what stands for the fraction of a product: an array, if a part of it is one."""
    parts = (*shown.above, *shown.below)
    array = next((p for p in parts if not is_scalar(p)), None)
    return (array or parts[0],) if parts else ()


def _joined(
    product: Product, factors: Sequence[Shown], written: Sequence[str], signs: tuple[str, str]
) -> list[str]:
    """Set factors side by side; arrays are multiplied with a circle where that must be said."""
    pieces: list[str] = []
    array = False
    for factor, part in zip(factors, written, strict=True):
        apart = product.circled and array and not is_scalar(factor)
        pieces += [*([signs[apart]] if pieces else []), part]
        array |= not is_scalar(factor)
    return pieces


# MathML ------------------------------------------------------------------------------------------

SYMBOLS = dict(zip(GREEK, "αβγδεζηθκλμνξπρστφχψω", strict=True))
SYMBOLS |= {"varepsilon": "ε", "ell": "ℓ"}


def mathml(shown: Shown) -> str:
    """Write a formula in MathML Core, which browsers draw without a script."""
    return _mathml(shown)[0]


def mathml_name(name: str) -> str:
    """Write a name in MathML."""
    if name.endswith("_hat"):
        return f'<mover accent="true">{mathml_name(name[:-4])}<mo>^</mo></mover>'
    if name.isdigit():
        return f"<mn>{name}</mn>"
    stem, index = _indexed(name)
    if index:
        return f"<msub>{mathml_name(stem)}{mathml_name(index)}</msub>"
    return f"<mi>{html.escape(SYMBOLS.get(SHORT.get(name, name), name))}</mi>"


def _row(*parts: str) -> str:
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _spaced(parts: list[str]) -> str:
    """Set factors side by side, a thin space between them."""
    apart = [piece for part in parts for piece in ('<mspace width="0.17em"/>', part)]
    return _row(*apart[1:])


def _listed(parts: list[str]) -> str:
    """Set operands side by side, a comma between them."""
    apart = [piece for part in parts for piece in (_op(","), part)]
    return _row(*apart[1:])


def _op(symbol: str) -> str:
    return f"<mo>{html.escape(symbol)}</mo>"


def _bracketed(inner: str) -> str:
    return _row(_op("("), inner, _op(")"))


def _mathml(shown: Shown) -> tuple[str, int]:
    if isinstance(shown, Sign):
        negative = isinstance(shown.value, Fraction) and shown.value < 0
        return _mathml_sign(shown.value), MULTIPLY if negative else ATOM
    if isinstance(shown, Sum):
        parts: list[str] = []
        for minus, item in shown.items:
            parts += [_op("−" if minus else "+")] if parts or minus else []
            parts.append(_mathml_in(item, MULTIPLY if minus else ADD))
        return _row(*parts), ADD
    if isinstance(shown, Product):
        return _mathml_product(shown), MULTIPLY
    if isinstance(shown, Power):
        if shown.exponent == HALF:
            return f"<msqrt>{mathml(shown.base)}</msqrt>", ATOM
        base = _mathml_in(shown.base, ATOM)
        return f"<msup>{base}{_mathml_sign(shown.exponent)}</msup>", POWER
    if isinstance(shown, Call):
        return _mathml_call(shown)
    if isinstance(shown, Matrix):
        parts = [_mathml_in(p, _side_level(p)) for p in (shown.left, shown.right)]
        return _spaced(parts), MULTIPLY
    if isinstance(shown, Transposed):
        return f"<msup>{_mathml_in(shown.of, ATOM)}<mo>⊤</mo></msup>", POWER
    if isinstance(shown, Bound):
        return _mathml_bound(shown), ATOM
    places = _listed(list(map(mathml, shown.places)))
    return f"<msub>{_mathml_in(shown.of, ATOM)}{places}</msub>", ATOM


def _mathml_bound(shown: Bound) -> str:
    letters = _listed(list(map(mathml_name, shown.letters)))
    signs = {"sum": "∑", "prod": "∏"}
    name = _op(signs[shown.name]) if shown.name in signs else f"<mi>{html.escape(shown.name)}</mi>"
    return _row(f"<munder>{name}{letters}</munder>", _bracketed(mathml(shown.body)))


def _mathml_sign(value: Any) -> str:
    if isinstance(value, str):
        return mathml_name(value)
    if isinstance(value, Fraction):
        return _mathml_number(value)
    return f"<mi>{ {'inf': '∞', '-inf': '−∞'}.get(str(value), str(value)) }</mi>"


def _mathml_number(value: Fraction) -> str:
    if value < 0:
        return _row(_op("−"), _mathml_number(-value))
    written = decimal(value)
    if "/" in written:
        return f"<mfrac><mn>{value.numerator}</mn><mn>{value.denominator}</mn></mfrac>"
    mantissa, _, exponent = written.partition("e")
    if not exponent:
        return f"<mn>{mantissa}</mn>"
    power = f"<msup><mn>10</mn>{_mathml_number(Fraction(int(exponent)))}</msup>"
    return power if mantissa in ("1", "1.0") else _row(f"<mn>{mantissa}</mn>", _op("⋅"), power)


def _mathml_call(shown: Call) -> tuple[str, int]:
    operands = [mathml(o) for o in shown.operands]
    if _is_comparison(shown):
        sides = [_mathml_in(o, MULTIPLY) for o in shown.operands]
        return _row(sides[0], _op(COMPARES[shown.name][2]), sides[1]), COMPARE
    if shown.name == "where":
        c, a, b = operands
        rows = "".join(
            f"<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>"
            for value, when in ((a, c), (b, "<mtext>otherwise</mtext>"))
        )
        brace = '<mo stretchy="true" form="prefix" fence="true">{</mo>'
        return _row(brace, f'<mtable columnalign="left">{rows}</mtable>'), ATOM
    name = f"<mi>{html.escape(shown.name)}</mi>"
    if shown.axes:
        name = f"<msub>{name}<mn>{shown.axes}</mn></msub>"
    given = [f"<mtext>{html.escape(p)}</mtext>" for p in shown.parameters]
    return _row(name, _bracketed(_listed([*operands, *given]))), ATOM


def _mathml_in(shown: Shown, level: int) -> str:
    written, own = _mathml(shown)
    return written if own >= level else _bracketed(written)


def _mathml_product(shown: Product) -> str:
    whole = bool(shown.below) and len(shown.above) == 1
    signs = ('<mspace width="0.17em"/>', _op("⊙"))
    parts = [mathml(p) if whole else _mathml_in(p, POWER) for p in shown.above]
    above = _row(*_joined(shown, shown.above, parts, signs)) if parts else ""
    if shown.below:
        single = len(shown.below) == 1
        inner = [mathml(p) if single else _mathml_in(p, POWER) for p in shown.below]
        below = _row(*_joined(shown, shown.below, inner, signs))
        above = f"<mfrac>{above or '<mn>1</mn>'}{below}</mfrac>"
    last = [_mathml_in(p, _last_level(shown, p)) for p in shown.last]
    factors = (*_whole_of(shown), *shown.last)
    return _row(*_joined(shown, factors, [*([above] if above else []), *last], signs))
