"""What a table does not say: which columns hold inputs, outputs and groups, and the language of the outputs.

A guess is made where names or contents leave one reading, is always said, and is refused otherwise: a wrong column gives a
model that answers the wrong question, without any error. Languages are identified by :mod:`py3langid` (Lui & Baldwin 2012), on
pieces of text of a fixed length, since it is unsure of single short ones; the share of pieces that agree tells how sure it is.
"""

from __future__ import annotations

import functools
import logging
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from xeric.data.tables import Table
from xeric.data.values import is_missing
from xeric.encodings import nfc
from xeric.errors import UnknownNameError, UserError
from xeric.languages import Language, language

__all__ = ["NO_GROUP", "Columns", "GuessedLanguage", "guess_columns", "guess_language"]

# Names that columns of inputs and of outputs have in files of chats, tickets, articles and benchmarks, most telling first.
_INPUTS = """
input inputs question questions prompt query source source_text request instruction dialogue dialog conversation chat article
document passage context description body content post review ticket email letter message text entrada pregunta preguntas
consulta texto documento artículo articulo mensaje correo pergunta mensagem texte entrée entree frage eingabe इनपुट प्रश्न
लेख पाठ swali maandishi
"""
_OUTPUTS = """
output outputs answer answers response responses target targets completion reply replies summary summaries highlights
headline title label translation reference output_text solution result salida respuesta respuestas resumen titular título
titulo traducción traduccion resposta saída saida resumo réponse reponse résumé antwort ausgabe zusammenfassung आउटपुट उत्तर
सारांश शीर्षक jibu muhtasari
"""
_GROUPS = """
group group_id customer customer_id customerid client client_id user user_id userid author author_id speaker speaker_id
thread thread_id conversation_id conversationid dialogue_id dialog_id session session_id patient_id patient case_id ticket_id
source_id document_id doc_id cliente id_cliente usuario autor hilo sesión sesion
"""

NO_GROUP = "none"
"""In place of a column's name: rows belong to no group."""

_DISTINCT = 0.5
"""Share of different values that a column of texts has at least: a category repeats its few values."""

_MANY_WORDS = 8
"""No name of a column has so many, nor half as many and a full stop; four letters of a script without spaces are a word."""

_STYLE = 0.2
"""Share of a column's cells that begin, and that end, as its name does where the name is a cell."""

_SENTENCE_ENDS = tuple(".!?…。！？؟۔।॥።")
_WITHOUT_SPACES = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")

_MEAN_LENGTH = 3.0
_PIECE = 200
_MOST_PIECES = 200
_SURE = 0.7
_FEWEST_CHARACTERS = 400
_NO_LANGUAGE = "zxx"
"""ISO 639-2: no linguistic content, such as numbers."""

_FEWEST_GROUPS = 5


@dataclass(frozen=True)
class Columns:
    """Columns of a table.

    Attributes:
        input: of the inputs; None where pictures are all the input there is.
        output: of the outputs.
        group: of what belongs together; None where there is none.
        guessed: sentences on what was guessed, for the user.
    """

    input: str | None
    output: str
    group: str | None
    guessed: tuple[str, ...]


def guess_columns(
    table: Table,
    *,
    input_column: str | None = None,
    output_column: str | None = None,
    group_column: str | None = None,
    image_column: str | None = None,
) -> Columns:
    """Return the columns that are named, and a guess of those that are not.

    Args:
        table: rows and columns.
        input_column: of the inputs; None to guess it.
        output_column: of the outputs; None to guess it.
        group_column: whose equal values belong together (a customer, a thread); None to guess it, which takes both a usual name
            and values that repeat; :data:`NO_GROUP` for no such column.
        image_column: of the names of pictures; then there need be no column of inputs.

    Raises:
        UserError: there is no such column, or names and contents leave several readings.
    """
    named_columns = (input_column, output_column, group_column, image_column)
    named = {nfc(column) for column in named_columns if column is not None and column != NO_GROUP}
    for column in named:
        if column not in table.columns:
            raise UserError(f"there is no column {column!r}", hint=f"the columns are {_listed(table.columns)}")
    texts = [column for column in table.columns if column not in named and _holds_texts(table, column)]
    if not named and _are_a_row(texts, table):
        raise UserError(
            f"the first line looks like a row, not like the names of columns: {_listed(texts)}",
            hint="write the names into a line above it; if they are names, give them with --input and --output",
        )
    output = nfc(output_column) if output_column is not None else _by_name(texts, _OUTPUTS)
    texts = [column for column in texts if column != output]
    inputs = nfc(input_column) if input_column is not None else _by_name(texts, _INPUTS)
    texts = [column for column in texts if column != inputs]
    # What only one column is left for needs no usual name; two nameless columns are read as a table is written, input first.
    if image_column is not None and output is None and len(texts) == 1:
        output, texts = texts[0], []
    if inputs is None and output is None and len(texts) == 2:
        inputs, output = texts
    elif inputs is None and len(texts) == 1:
        inputs = texts[0]
    elif output is None and len(texts) == 1:
        output = texts[0]
    if len(table.columns) == 1 and image_column is None:
        hint = "if the file separates them by an unusual character, give it with --delimiter"
        raise UserError(f"there is one column alone ({_listed(table.columns)}), and inputs and outputs take two", hint=hint)
    if output is None or (inputs is None and image_column is None):
        which = "inputs and outputs" if inputs is None and output is None else "inputs" if inputs is None else "outputs"
        raise UserError(
            f"cannot tell which column holds the {which}: the columns are {_listed(table.columns)}",
            hint="name them with --input COLUMN and --output COLUMN",
        )
    if inputs == output:
        raise UserError(f"column {output!r} cannot hold both inputs and outputs", hint="name two columns")
    taken = {column for column in (inputs, output, *named) if column is not None}
    group = None if group_column == NO_GROUP else nfc(group_column) if group_column is not None else _group(table, taken)
    if twice := next((column for column in table.columns if column in {*taken, group} and table.columns.count(column) > 1), None):
        raise UserError(f"there are two columns {twice!r}", hint="rename one of them")
    return Columns(inputs, output, group, tuple(_sentences(input_column, output_column, group_column, inputs, output, group)))


def _sentences(
    input_column: str | None,
    output_column: str | None,
    group_column: str | None,
    inputs: str | None,
    output: str,
    group: str | None,
) -> list[str]:
    sentences = []
    if inputs is None:
        sentences.append("pictures are all the input (--input names a column of texts beside them)")
    elif input_column is None:
        sentences.append(f"inputs are taken from column {inputs!r} (--input names another)")
    if output_column is None:
        sentences.append(f"outputs are taken from column {output!r} (--output names another)")
    if group is not None and group_column is None:
        sentences.append(
            f"rows with the same {group!r} stay on one side of the split, so that none is tested on what it was trained on "
            "(--group names another column, --group none switches this off)"
        )
    return sentences


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns)) or "none"


def _key(column: str) -> str:
    return str(regex.sub(r"[\s_.-]+", "_", column.strip().casefold()))


def _by_name(columns: Sequence[str], names: str) -> str | None:
    """Return the column with the most telling of the usual names, or the only one with such a word in its name."""
    usual = names.split()
    for wanted in usual:
        for column in columns:
            if _key(column) == _key(wanted):
                return column
    containing = [column for column in columns if set(_key(column).split("_")) & set(usual)]
    return containing[0] if len(containing) == 1 else None


def _are_a_row(names: Sequence[str], table: Table) -> bool:
    """Return whether the names of the columns of texts are a row of a table without a header.

    All of them have to be as long as the cells below them, to begin and end as many cells do, and to hold no usual name; one has
    to be a sentence. The questions of a survey, which are sentences, too, end as their answers do not.
    """
    cells = {name: [value.strip() for value in _values(table, name) if isinstance(value, str)] for name in names}
    return (
        len(names) > 1
        and not any(_is_usual(name) for name in names)
        and any(_is_sentence(name) for name in names)
        and all(_is_like(name, cells[name]) for name in names)
    )


def _is_usual(name: str) -> bool:
    words = _key(name).split("_")
    return len(words) < _MANY_WORDS and bool({*words, _key(name)} & {_key(usual) for usual in f"{_INPUTS} {_OUTPUTS}".split()})


def _is_sentence(name: str) -> bool:
    words = len(name.split()) + len(_WITHOUT_SPACES.findall(name)) / 4
    return words >= (_MANY_WORDS / 2 if name.endswith(_SENTENCE_ENDS) else _MANY_WORDS)


def _is_like(name: str, cells: Sequence[str]) -> bool:
    lengths = [len(cell) for cell in cells] or [0]
    alike = sum(_begins(cell) == _begins(name) for cell in cells), sum(_ends(cell) == _ends(name) for cell in cells)
    return statistics.median(lengths) / 3 <= len(name) <= max(lengths) and min(alike) >= _STYLE * len(cells)


def _begins(text: str) -> str:
    return unicodedata.category(text[0]) if text else ""


def _ends(text: str) -> str:
    return "letter" if text and unicodedata.category(text[-1])[0] in "LMN" else text[-1:]


def _values(table: Table, column: str) -> list[Any]:
    return [row.get(column) for _, row in table.rows if not is_missing(row.get(column))]


def _holds_texts(table: Table, column: str) -> bool:
    texts = [" ".join(map(str, value)) if isinstance(value, list) else value for value in _values(table, column)]
    if not texts or not all(isinstance(text, str) for text in texts):
        return False
    worded = [text for text in texts if regex.search(r"\p{L}", text)]
    long_enough = statistics.fmean(map(len, texts)) >= _MEAN_LENGTH
    return len(worded) >= len(texts) / 2 and long_enough and len(set(texts)) >= _DISTINCT * len(texts) and not _are_ids(texts)


def _are_ids(texts: Sequence[str]) -> bool:
    """Say whether texts are names for machines: one word each, with a digit in it."""
    return all(regex.fullmatch(r"\S*\d\S*", text.strip()) for text in texts)


def _group(table: Table, taken: Collection[str]) -> str | None:
    usual = {_key(name) for name in _GROUPS.split()}
    for column in table.columns:
        values = [str(value) for value in _values(table, column)]
        different = len(set(values))
        if column not in taken and _key(column) in usual and _FEWEST_GROUPS <= different < len(values):
            return column
    return None


@dataclass(frozen=True)
class GuessedLanguage:
    """A language identified by its texts.

    Attributes:
        language: the language.
        share: of the pieces of text that were identified as it.
    """

    language: Language
    share: float


def guess_language(texts: Sequence[str]) -> GuessedLanguage | None:
    """Return the language of texts; None where they are too few or too short, too few pieces agree, or they are no language.

    A text that stands several times counts once: a hundred times "yes" says no more than one.
    """
    distinct = list(dict.fromkeys(texts))
    if sum(map(len, distinct)) < _FEWEST_CHARACTERS:
        return None
    votes = Counter(_identified(piece) for piece in _pieces(distinct))
    code, count = votes.most_common(1)[0]
    share = count / votes.total()
    if code == _NO_LANGUAGE:
        return None
    try:
        named = language(code)
    except UnknownNameError:
        return None
    return GuessedLanguage(named, share) if share >= _SURE else None


def _pieces(texts: Sequence[str]) -> list[str]:
    """Return texts joined to pieces of some two hundred characters, a fixed number of them spread over the whole."""
    pieces, piece = [], ""
    for text in texts:
        piece = f"{piece} {text}".strip()
        if len(piece) >= _PIECE:
            pieces.append(piece[: 5 * _PIECE])
            piece = ""
    if piece and not pieces:
        pieces.append(piece)
    step = max(len(pieces) // _MOST_PIECES, 1)
    return pieces[::step][:_MOST_PIECES]


def _identified(text: str) -> str:
    return str(_identifier()(text)[0])


@functools.cache
def _identifier() -> Callable[[str], tuple[str, float]]:
    logging.getLogger("py3langid").setLevel(logging.ERROR)
    import py3langid

    classify: Callable[[str], tuple[str, float]] = py3langid.classify
    return classify
