"""Training text for the tiny model: chat exchanges made from the docstrings of the Python standard library.

An exchange is a user message and a reply that thinks, answers and ends. Half the user messages are questions about
a documented object; the rest are jumbles, because a benchmark's synthetic prompts are word salad in a chat format and
the model must think, answer and stop after those too.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from tokenizers import Tokenizer

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = ("<|endoftext|>", IM_START, IM_END, "<think>", "</think>")

# Importing these opens windows or a browser, prints, or gives a package installed beside the library (setuptools).
NOT_IMPORTED = {"antigravity", "distutils", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"}

# Counting keeps a greedy model from naming neighbours for ever.
ORDINALS = ("First", "Second", "Third", "Last")

QUESTIONS = (
    "What does {name} do?",
    "What is {name}?",
    "Explain {name}.",
    "Describe {name} from {module}.",
    "How is {name} used?",
    "Tell me about the {kind} {name}.",
    "In Python, what is {name} for?",
    "I found {name} in {module}. What is it?",
)


@dataclass(frozen=True)
class Entry:
    """One documented object of the standard library."""

    name: str
    """Qualified name, such as `os.path.join`."""
    module: str
    kind: str
    """`module`, `class`, `function` or `method`."""
    parameters: tuple[str, ...]
    """As written in the signature, defaults included; empty when there is no readable signature."""
    summary: str
    """The first sentences of the docstring, on one line."""
    docstring: str


@dataclass(frozen=True)
class Piece:
    """A stretch of one training row."""

    token_ids: list[int]
    learned: bool = False
    """Whether the model is asked to predict it."""
    jumbled: bool = False
    """Whether it means nothing, so that there might as well be more of it."""


def entries() -> list[Entry]:
    """Every public object with a docstring in the running interpreter's standard library, in the order of names."""
    found: dict[str, Entry] = {}
    for module in _modules():
        for name, value, kind in _members(module):
            docstring = inspect.cleandoc(value.__doc__) if isinstance(value.__doc__, str) else ""
            summary = _summary(docstring)
            # Inherited and re-exported docstrings would only repeat what the first name already says.
            if len(summary) >= 20 and summary not in found:
                found[summary] = Entry(name, module.__name__, kind, _parameters(value), summary, docstring)
    return sorted(found.values(), key=lambda entry: entry.name)


def _modules() -> Iterator[ModuleType]:
    for top in sorted(sys.stdlib_module_names - NOT_IMPORTED):
        if top.startswith("_"):
            continue
        package = _import(top)
        if package is None:
            continue
        yield package
        for inner in sorted(pkgutil.iter_modules(getattr(package, "__path__", ())), key=lambda info: info.name):
            module = None if inner.name.startswith("_") else _import(f"{top}.{inner.name}")
            if module is not None:
                yield module


def _import(name: str) -> ModuleType | None:
    """The module, or None where it belongs to another platform."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def _members(module: ModuleType) -> Iterator[tuple[str, object, str]]:
    yield module.__name__, module, "module"
    for name, value in _own(module, module.__name__):
        if inspect.isclass(value):
            yield f"{module.__name__}.{name}", value, "class"
            for method_name, method in _own(value, module.__name__):
                if inspect.isroutine(method):
                    yield f"{module.__name__}.{name}.{method_name}", method, "method"
        elif inspect.isroutine(value):
            yield f"{module.__name__}.{name}", value, "function"


def _own(holder: ModuleType | type, module: str) -> Iterator[tuple[str, object]]:
    """What was written in the module: not its imports, and not what torch and transformers have since hung on it."""
    for name, value in sorted(vars(holder).items()):
        if not name.startswith("_") and (getattr(value, "__module__", None) or module) == module:
            yield name, value


def _parameters(value: object) -> tuple[str, ...]:
    if not callable(value):
        return ()
    try:
        parameters = inspect.signature(value).parameters.values()
    except (ValueError, TypeError):
        return ()
    # An address in a default would make the text differ from run to run.
    written = [str(parameter.replace(annotation=parameter.empty)) for parameter in parameters]
    return tuple(text for text in written if text != "self" and " at 0x" not in text and len(text) <= 60)


def _about_parameter(parameter: str) -> str:
    name, _, default = parameter.partition("=")
    if default:
        return f"{name} may be left out and is then {default}."
    return f"{name} takes what is left." if name.startswith("*") else f"{name} must be given."


def _summary(docstring: str) -> str:
    """The first paragraph that is prose, cut after the sentence that passes 60 characters; at most 240 characters."""
    for paragraph in docstring.split("\n\n"):
        text = " ".join(paragraph.split())
        if text.isascii() and " " in text and "->" not in text and ">>>" not in text and "(" not in text.split()[0]:
            sentences = re.split(r"(?<=[.!?]) ", text)
            while len(sentences) > 1 and len(" ".join(sentences[:-1])) >= 60:
                sentences.pop()
            whole = " ".join(sentences)
            return whole if len(whole) <= 240 else ""
    return ""


class Conversations:
    """Draws training rows and prompts from a set of entries; one seed gives one sequence of draws."""

    def __init__(self, drawn_from: list[Entry], tokenizer: Tokenizer, seed: int) -> None:
        self._entries = drawn_from
        self._tokenizer = tokenizer
        self._random = random.Random(seed)
        self._words = sorted({word for entry in drawn_from for word in entry.docstring.split()})
        self._docstrings = [self._ids(entry.docstring) for entry in drawn_from]
        self._siblings: dict[str, list[Entry]] = {}
        for entry in drawn_from:
            self._siblings.setdefault(entry.module, []).append(entry)

    def row(self, length: int) -> list[Piece]:
        """Exchanges until `length` tokens are reached; the last one may run over."""
        pieces = self._opening() if self._random.random() < 0.3 else []
        while (room := length - sum(len(piece.token_ids) for piece in pieces)) > 0:
            pieces.extend(self._exchange(room))
        return pieces

    def question_prompt(self) -> list[int]:
        """A prompt that asks about one entry."""
        return self._prompt(self._ids(self._question(self._random.choice(self._entries))))

    def jumble_prompt(self, n_tokens: int) -> list[int]:
        """A prompt whose user message is `n_tokens` of jumble."""
        return self._prompt(self.jumble(n_tokens))

    def jumble(self, n_tokens: int) -> list[int]:
        """Exactly `n_tokens` token ids of docstring fragments, shuffled words or ids drawn from the vocabulary."""
        kinds = (self._fragments, self._shuffled_words, self._shuffled_words, self._vocabulary_draws)
        make = self._random.choice(kinds)
        token_ids: list[int] = []
        while len(token_ids) < n_tokens:
            token_ids.extend(make())
        return token_ids[:n_tokens]

    def _fragments(self) -> list[int]:
        docstring = self._random.choice(self._docstrings)
        start = self._random.randrange(len(docstring))
        return docstring[start : start + self._random.randint(4, 80)]

    def _shuffled_words(self) -> list[int]:
        return self._ids(" ".join(self._random.choices(self._words, k=32)) + " ")

    def _vocabulary_draws(self) -> list[int]:
        # A harness that draws ids uniformly also draws special tokens.
        first = self._random.choice((0, len(SPECIAL_TOKENS)))
        return [self._random.randrange(first, self._tokenizer.get_vocab_size()) for _ in range(64)]

    def _exchange(self, room: int) -> list[Piece]:
        entry = self._random.choice(self._entries)
        asked = self._random.random() < 0.5
        message = Piece(self._ids(self._question(entry))) if asked else self._jumbled(8, max(16, room - 160))
        role = self._random.choice(("user", "user", "user", "tool"))
        pieces = [Piece(self._header(role)), message, Piece(self._ids(IM_END + "\n") + self._header("assistant"))]
        if self._random.random() < 0.15:
            # History as harnesses keep it: thinking stripped, or an answer of forced length that means nothing.
            past = Piece(self._ids(entry.summary)) if self._random.random() < 0.5 else self._jumbled(8, 64)
            return [*pieces, past, Piece(self._ids(IM_END + "\n"))]
        return [*pieces, Piece(self._ids(self._reply(entry, asked)), learned=True), Piece(self._ids("\n"))]

    def _opening(self) -> list[Piece]:
        return [Piece(self._header("system")), self._jumbled(8, 96), Piece(self._ids(IM_END + "\n"))]

    def _jumbled(self, least: int, most: int) -> Piece:
        """A jumble whose length is drawn evenly on a logarithmic scale."""
        return Piece(self.jumble(round(least * (most / least) ** self._random.random())), jumbled=True)

    def _question(self, entry: Entry) -> str:
        template = self._random.choice(QUESTIONS)
        return template.format(name=entry.name, module=entry.module, kind=entry.kind)

    def _reply(self, entry: Entry, asked: bool) -> str:
        thinking = " ".join(self._thoughts(entry, asked))
        opening = "" if asked else f"You may mean {entry.name}. "
        return f"<think>\n{thinking}\n</think>\n{opening}{entry.summary}{IM_END}"

    def _thoughts(self, entry: Entry, asked: bool) -> Iterator[str]:
        """Sentences from the entry's name, module and signature; how many varies, and so does the thinking's length."""
        if asked:
            yield f"The question is about {entry.name}."
        else:
            yield "The message is a jumble and asks nothing clear."
            yield f"The nearest thing I know is {entry.name}."
        package, _, own_name = entry.name.rpartition(".")
        facts = [f"It is a {entry.kind}.", f"It is called {own_name} and stands in {package or 'the library itself'}."]
        facts.extend(_about_parameter(parameter) for parameter in entry.parameters[:6])
        siblings = self._siblings[entry.module]
        beside = self._random.sample(siblings, min(len(ORDINALS), len(siblings)))
        facts.extend(f"{n} beside it stands {at.name}, a {at.kind}." for n, at in zip(ORDINALS, beside, strict=False))
        yield from facts[: self._random.randint(0, len(facts))]
        yield self._random.choice(("So I can answer.", "Its docstring says the rest.", "That is enough."))

    def _prompt(self, message: list[int]) -> list[int]:
        return self._header("user") + message + self._ids(IM_END + "\n") + self._header("assistant")

    def _header(self, role: str) -> list[int]:
        return self._ids(f"{IM_START}{role}\n")

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)
