"""Makes task files of the names and keywords of pictures, in English, Spanish and Hindi, out of two packages of npm's index.

For development: nothing of Xeric depends on it. The packages are fetched by npm itself (`npm pack`), nothing of theirs is run,
and only members that are asked for are read::

    npm pack emoji-datasource-twitter cldr-annotations-full
    python tools/picture_tasks.py emoji-datasource-twitter-*.tgz cldr-annotations-full-*.tgz -o picture-tasks

Six files come out, names and keywords in three languages, and the pictures beside them. An instance's group is the subcategory
of its picture (``animal-mammal``), so train and test share none. Pictures: Twemoji, CC-BY 4.0, copyright Twitter and
contributors (in the package `emoji-datasource-twitter`, MIT). Names and keywords: Unicode CLDR, Unicode License v3.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LANGUAGES = {"en": "English", "es": "Spanish", "hi": "Hindi"}
_FOLDER = "pictures"
_PICTURES = "package/img/twitter/64/"
_LICENSES = [
    "Pictures: Twemoji, CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/, copyright Twitter, Inc. and other contributors",
    "Texts: Unicode CLDR annotations, Unicode License v3, https://www.unicode.org/license.txt",
]
_DEFINITIONS = {
    "names": "Write what the picture shows, in a few words of {language}.",
    "keywords": "Write keywords for the picture in {language}, separated by commas.",
}
_LARGEST_MEMBER = 50_000_000


def main(arguments: list[str] | None = None) -> int:
    """Write the task files."""
    parser = argparse.ArgumentParser(description="Makes task files of the names and keywords of pictures.")
    parser.add_argument("pictures", type=Path, help="emoji-datasource-twitter-VERSION.tgz")
    parser.add_argument("texts", type=Path, help="cldr-annotations-full-VERSION.tgz")
    parser.add_argument("-o", "--output-dir", type=Path, required=True)
    given = parser.parse_args(arguments)
    with tarfile.open(given.texts) as archive:
        annotations = {code: _annotations(archive, code) for code in _LANGUAGES}
    with tarfile.open(given.pictures) as archive:
        emoji = [e for e in json.loads(_member(archive, "package/emoji.json")) if _serves(e, annotations)]
        (given.output_dir / _FOLDER).mkdir(parents=True, exist_ok=True)
        for entry in emoji:
            (given.output_dir / _FOLDER / entry["image"]).write_bytes(_member(archive, _PICTURES + entry["image"]))
    for code, language in _LANGUAGES.items():
        for kind in _DEFINITIONS:
            path = given.output_dir / f"picture_{kind}_{code}.json"
            task = _task(kind, language, emoji, annotations[code])
            path.write_text(json.dumps(task, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            print(f"{path}: {len(task['Instances'])} instances")
    return 0


def _annotations(archive: tarfile.TarFile, code: str) -> Mapping[str, Any]:
    held: Mapping[str, Any] = json.loads(_member(archive, f"package/annotations/{code}/annotations.json"))
    return held["annotations"]["annotations"]  # type: ignore[no-any-return]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return the content of a file in an archive; nothing is unpacked to a path that the archive names."""
    member = archive.getmember(name)
    if not member.isfile() or member.size > _LARGEST_MEMBER:
        raise SystemExit(f"{name} is no ordinary file, or too large")
    content = archive.extractfile(member)
    assert content is not None
    return content.read()


def _character(entry: Mapping[str, Any]) -> str:
    # CLDR leaves out the variation selector that asks for a colour picture.
    return "".join(chr(int(part, 16)) for part in entry["unified"].split("-")).replace("\ufe0f", "")


def _serves(entry: Mapping[str, Any], annotations: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether there is a picture, and a name and keywords in every language."""
    texts = [of_language.get(_character(entry), {}) for of_language in annotations.values()]
    plain_name = "/" not in entry["image"] and entry["image"].endswith(".png")
    return bool(entry["has_img_twitter"]) and plain_name and all("tts" in text and "default" in text for text in texts)


def _task(kind: str, language: str, emoji: list[Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
    instances = []
    for entry in emoji:
        texts = annotations[_character(entry)]
        output = texts["tts"][0] if kind == "names" else ", ".join(texts["default"])
        instance = {"id": entry["unified"], "input": "", "image": f"{_FOLDER}/{entry['image']}", "output": [output]}
        instances.append({**instance, "group": entry["subcategory"]})
    return {
        "Contributors": [],
        "Source": ["emoji-datasource-twitter", "cldr-annotations-full"],
        "Categories": ["Image Captioning" if kind == "names" else "Keyword Tagging"],
        "Definition": [_DEFINITIONS[kind].format(language=language)],
        "Input_language": [language],
        "Output_language": [language],
        "Instruction_language": ["English"],
        "Domains": ["Pictures"],
        "Positive Examples": [],
        "Negative Examples": [],
        "Instances": instances,
        "Instance License": _LICENSES,
    }


if __name__ == "__main__":
    sys.exit(main())
