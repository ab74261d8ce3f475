"""The worker process that lays pages out: `python -m connectors.mss.pdf_worker MEMORY_MB`.

Purpose: WeasyPrint takes a tenth of a second to seconds of processor, and what it is given decides how much memory: it
runs here, where it stops nobody.

Wire (standard input and output): first a line of JSON, `{"ready": version}` or `{"fault": "…"}`. Then for each page a
line `{"size", "seconds"}` and `size` bytes of HTML; answered by a line `{"size": n}` and `n` bytes of PDF/A-1b, or by
`{"fault": "…"}`. End of input ends the process.

Guarantee: the same page gives the same bytes. Nothing is fetched: only `data:` images, made opaque (PDF/A-1 knows no
transparency) and bounded; a page whose image cannot be shown is a fault, not a page without it. The kernel ends the
process when a page takes twice its seconds or more than its memory.
Source: spec/mssante.md §1.8 (PDF/A-1, no network while rendering); WeasyPrint 70, API reference.
"""

from __future__ import annotations

import hashlib
import io
import json
import resource
import signal
import sys
from typing import IO, Any

from gateway.childprocess import be_a_good_neighbour, own_the_wire

MAX_PAGES = 300
MAX_PIXELS = 40_000_000
"""Of one image; a photograph of a camera has 24 million."""


def main(argv: list[str]) -> int:
    """Serve until the end of input."""
    requests, answers = own_the_wire()
    be_a_good_neighbour()
    limit = int(argv[0]) * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        import weasyprint

        # what is missing (Pango, fonts) shows at the first page, not at the import
        pdf_of("<p>é</p>")
    except (ImportError, OSError, MemoryError) as e:
        _say(answers, {"fault": f"{type(e).__name__}: {str(e)[:200]}"})
        return 2
    _say(answers, {"ready": weasyprint.__version__})
    while line := requests.readline():
        request = json.loads(line)
        html = requests.read(request["size"]).decode("utf-8")
        # SIGALRM is left to its default: it ends the process even inside a library
        signal.setitimer(signal.ITIMER_REAL, 2 * request["seconds"] + 1)
        try:
            pdf = pdf_of(html)
        except Exception as e:
            # only the kind: the words may quote the document
            _say(answers, {"fault": type(e).__name__})
        else:
            _say(answers, {"size": len(pdf)}, pdf)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def pdf_of(html: str) -> bytes:
    """PDF/A-1b of a page. Raises `ValueError` for too many pages or an image that cannot be shown."""
    from weasyprint import HTML

    fetcher = _fetcher()
    document = HTML(string=html, url_fetcher=fetcher).render()
    if len(document.pages) > MAX_PAGES:
        raise ValueError("too many pages")
    if fetcher.refused:
        raise ValueError("an image cannot be shown")
    identifier = hashlib.sha256(html.encode("utf-8")).hexdigest()[:32].encode("ascii")
    made: bytes = document.write_pdf(pdf_variant="pdf/a-1b", pdf_identifier=identifier)
    return made


def _fetcher() -> Any:
    """A fetcher of `data:` images alone; `refused` says that something else was asked for."""
    from PIL import Image
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # an error at twice this figure

    class DataOnly(URLFetcher):  # type: ignore[misc]  # no types where the extra is not installed
        refused = False

        def fetch(self, url: str, headers: Any = None) -> Any:
            try:
                if not url.startswith("data:image/"):
                    raise ValueError("not an embedded image")
                return URLFetcherResponse(
                    url, _opaque(super().fetch(url).read()), {"Content-Type": "image/png"}
                )
            except Exception:
                self.refused = True
                raise

    def _opaque(content: bytes) -> bytes:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "GIF")) as image:
            seen = image.convert("RGBA")
        paper = Image.new("RGBA", seen.size, "white")
        paper.alpha_composite(seen)
        out = io.BytesIO()
        paper.convert("RGB").save(out, "PNG")
        return out.getvalue()

    return DataOnly(allowed_protocols={"data"})


def _say(answers: IO[bytes], what: dict[str, Any], body: bytes = b"") -> None:
    answers.write(json.dumps(what).encode() + b"\n" + body)
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
