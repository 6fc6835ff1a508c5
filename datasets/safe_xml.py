"""XML that came with a slide: documents that declare types or entities are refused before any is expanded."""

from xml.etree import ElementTree

from ultraread.errors import SlideMetadataInvalid


class _NoDeclarations(ElementTree.TreeBuilder):
    """No writer of slides declares any; a bomb has to, and so has what reads other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise SlideMetadataInvalid("the XML of the file declares types or entities")


def parse_xml(document: str | bytes) -> ElementTree.Element:
    """Return the root. Raises ParseError, and SlideMetadataInvalid for a document type declaration."""
    parser = ElementTree.XMLParser(target=_NoDeclarations())  # noqa: S314  # see _NoDeclarations
    return ElementTree.fromstring(document, parser)  # noqa: S314
