"""`references.bib` from citations. No heavy imports."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENTRY = re.compile(r"^\s*@(\w+)\s*\{\s*([^,\s]+)\s*,")
_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:\s*)(10\.\d{4,9}/[^\s,;]+)", re.IGNORECASE)


def references(citations: Iterable[str]) -> str:
    """The text of `references.bib`: one entry per distinct citation, in the order given.

    A citation is a BibTeX entry (kept as it is), text with a DOI (`doi:10.1000/x`), a URL, or plain
    text. Equal ones appear once; two different entries with one key get distinct keys.

    >>> print(references(["doi:10.1021/acs.jctc.8b01176"]), end="")
    @misc{doi_10_1021_acs_jctc_8b01176,
      doi = {10.1021/acs.jctc.8b01176}
    }
    """
    entries: dict[str, str] = {}
    for citation in citations:
        key, text = entry(citation.strip())
        number, fresh = 2, key
        while fresh in entries and entries[fresh] != text:
            fresh, number = f"{key}_{number}", number + 1
        if fresh != key:
            text = text.replace(key, fresh, 1)
            if text in entries.values():
                continue
        entries[fresh] = text
    return "\n".join(text + "\n" for text in entries.values())


def entry(citation: str) -> tuple[str, str]:
    """Key and text of one BibTeX entry."""
    match = _ENTRY.match(citation)
    if match is not None:
        return match[2], citation
    fields = {}
    doi = _DOI.search(citation)
    rest = citation
    if doi is not None:
        fields["doi"] = doi[1].rstrip(".)")
        rest = citation.replace(doi[0], "").strip(" ,;.()")
    elif citation.startswith(("http://", "https://")):
        fields["url"], rest = citation, ""
    if rest:
        fields["note"] = rest.replace("{", "").replace("}", "")
    name = "doi_" + fields["doi"] if doi is not None else citation
    key = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")[:60].rstrip("_") or "reference"
    body = ",\n".join(f"  {field} = {{{value}}}" for field, value in fields.items())
    return key, f"@misc{{{key},\n{body}\n}}"
