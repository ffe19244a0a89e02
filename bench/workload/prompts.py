"""From segments to what an engine is asked: prompts of exact length that share exactly what the workload says."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.errors import InputError
from bench.core.protocols import PromptForm
from bench.core.sessions import Effort, Message, Prompt, Segment, Turn
from bench.core.tokenizer import TOKENIZER_FILE, load_tokenizer
from bench.workload.conversation import Conversations
from bench.workload.draws import Draws
from bench.workload.framing import (
    NO_FRAMING,
    Framing,
    Framings,
    framing_of_text,
    framing_of_tokens,
    split_template,
)
from bench.workload.pictures import draw_png
from bench.workload.shared_prefix import Piece, SharedPrefix, pieces_of
from bench.workload.vocabulary import every_id, ordinary_tokens, words_of

_KEPT_PICTURES = 1024


class PromptSynthesizer:
    """Draws what has no words of its own from the model's tokens, seeded by `salt` and the segment's key.

    Equal keys are equal tokens within one salt and play, and unrelated under another, so a run with a salt of its own
    finds nothing of an earlier run in any cache, nor a session that is sent again what its last play left.

    In tokens, every ordinary token is drawn. In text and in a chat words are, that are tokenized to one token each in
    whatever order: the prompt has as many tokens under the model's tokenizer and template as its segments say. Where
    that leaves no room for a word, it has one word.
    """

    def __init__(
        self, model_folder: Path, salt: str, framing: bool, form: PromptForm = "tokens", images: bool = False
    ) -> None:
        """`framing` wraps prompts of tokens or text, without changing their length, in the model's chat template, where
        it has one and they have room for it; whoever is asked in a chat does so itself. With `images` a chat's pictures
        are pictures, otherwise they are drawn as tokens like everything else.

        A folder without a tokenizer is drawn from by the size of its vocabulary, for prompts of tokens that are not
        framed. Raises InputError where others have none, where a chat has no template, where no text has a known number
        of tokens, or where tokenizer, template or config cannot be read.
        """
        self._folder = model_folder
        self._form = form
        self._images = images and form == "chat"
        has_tokenizer = framing or form != "tokens" or (model_folder / TOKENIZER_FILE).exists()
        self._tokenizer = load_tokenizer(model_folder) if has_tokenizer else None
        self._template = ChatTemplate.from_folder(model_folder) if framing or form == "chat" else None
        if form == "chat" and self._template is None:
            raise InputError("no chat template", where=model_folder, allowed="one, or an engine with api: completions")
        if self._tokenizer is None:
            self._vocabulary = every_id(model_folder / "config.json")
        elif form == "tokens":
            self._vocabulary = ordinary_tokens(self._tokenizer)
        else:
            self._vocabulary = words_of(self._tokenizer, model_folder / TOKENIZER_FILE)
        self._framings = Framings(self._make_framing)
        self._begin(salt)

    def salted(self, salt: str) -> PromptSynthesizer:
        """Another of the same model, which has sent nothing yet."""
        other = copy(self)
        other._begin(salt)
        return other

    def _begin(self, salt: str) -> None:
        self._draws = Draws(self._vocabulary, salt)
        self._sent = SharedPrefix()
        self._png = lru_cache(_KEPT_PICTURES)(self._draw_png)
        self._conversations: Conversations | None = None

    @property
    def framed(self) -> bool:
        """Whether prompts that have room for it are wrapped in the chat template."""
        return self._template is not None

    def realise(self, turn: Turn, play: int = 0) -> Prompt:
        """`turn`'s prompt, when its session was sent `play` times before."""
        if _has_words(turn):
            return self._spoken().realise(turn, play)
        framing, pictures, pieces = self._laid_out(turn)
        ids = list(framing.head)
        for piece in pictures:
            ids += self._draws.of(piece, play).ids
        opens = len(ids)
        drawn = [self._draws.of(piece, play) for piece in pieces]
        for one in drawn:
            ids += one.ids
        if self._form == "tokens":
            return Prompt((*ids, *framing.tail))
        first = ids[opens]
        ids[opens], opener = framing.openers[first % len(framing.openers)]
        text = opener + "".join([one.text for one in drawn])[self._vocabulary.letters(first) :]
        if self._form == "text":
            text = framing.before + text + framing.after
        pngs = tuple(self._png(segment, play) for segment in turn.prompt if segment.picture) if pictures else ()
        return Prompt((*ids, *framing.tail), (Message("user", text, pngs),))

    def shared_tokens(self, turn: Turn, play: int = 0) -> int:
        """Leading prompt tokens that earlier calls already covered. Call it once a turn, in the order of sending.

        A prompt with words of its own and a drawn one are taken to share nothing.
        """
        if _has_words(turn):
            return self._spoken().shared_tokens(turn, play)
        framing, pictures, pieces = self._laid_out(turn)
        return self._sent.add([*pictures, *pieces], head=framing.head, tail=framing.tail, play=play)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """What an answer's tokens read, special ones left out. Raises InputError where the model has no tokenizer."""
        return str(self._needed_tokenizer().decode(list(token_ids), skip_special_tokens=True))

    def _laid_out(self, turn: Turn) -> tuple[Framing, list[Piece], list[Piece]]:
        """The framing of a drawn prompt, its pictures and its words; the framing takes its room from the words."""
        framing = self._framings.of(turn.effort)
        shown, said = [], turn.prompt
        if self._images and any(segment.picture for segment in turn.prompt):
            shown = [segment for segment in turn.prompt if segment.picture]
            said = tuple(segment for segment in turn.prompt if not segment.picture)
        if self._form == "tokens" and not framing.fits(turn.prompt_tokens):
            framing = NO_FRAMING
        pieces = pieces_of(said, len(framing.head), len(framing.tail))
        if not pieces and self._form != "tokens":
            pieces = [Piece(said[0].key if said else "", 0, 1)]
        return framing, pieces_of(shown), pieces

    def _make_framing(self, effort: Effort | None) -> Framing:
        template, form = self._template, self._form
        # Whoever is asked in a chat is told the effort, and no switch of the template.
        before, after = split_template(template, effort, switches=form != "chat") if template else ("", "")
        if form != "tokens":
            return framing_of_text(
                self._needed_tokenizer(),
                self._vocabulary,
                before,
                after,
                add_special=form == "text",
                where=self._folder,
            )
        return framing_of_tokens(self._needed_tokenizer(), before, after) if template else NO_FRAMING

    def _needed_tokenizer(self) -> Tokenizer:
        return load_tokenizer(self._folder) if self._tokenizer is None else self._tokenizer

    def _spoken(self) -> Conversations:
        if self._conversations is None:
            self._conversations = Conversations(
                self._needed_tokenizer(), self._template, self._form, self._draws, self._picture_of
            )
        return self._conversations

    def _picture_of(self, segment: Segment, play: int) -> bytes | None:
        return self._png(segment, play) if self._images and segment.picture else None

    def _draw_png(self, segment: Segment, play: int) -> bytes:
        assert segment.picture is not None
        return draw_png(segment.picture, self._draws.seed(segment.key, play))


def _has_words(turn: Turn) -> bool:
    return any(segment.text is not None for segment in turn.prompt)
