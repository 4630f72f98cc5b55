"""Several players or pads beside each other, with one picture for pages without widgets."""

import io

import ipywidgets
from PIL import Image

from course_lib.widgets.player import Player
from course_lib.widgets.reader import beside


class SideBySide:
    """Players or pads beside each other; they wrap where the page is narrow."""

    def __init__(self, *players: Player):
        self.players = players
        self._box = ipywidgets.HBox(
            list(players), layout=ipywidgets.Layout(flex_flow="row wrap", overflow="visible")
        )

    def _repr_mimebundle_(self, **kwargs: dict) -> tuple[dict, dict] | None:
        """The live view, and beside it the players' pictures, one below the other."""
        view = self._box._repr_mimebundle_(**kwargs)
        text = " ".join(player.alt for player in self.players)
        return beside(None if view is None else (view, {}), text, png=self.contact_sheet())

    def contact_sheet(self) -> bytes:
        """A PNG with the players' pictures, one below the other."""
        pictures = [Image.open(io.BytesIO(player.contact_sheet())) for player in self.players]
        width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
        sheet, top = Image.new("RGB", (width, height), "white"), 0
        for picture in pictures:
            sheet.paste(picture, (0, top))
            top += picture.height
        file = io.BytesIO()
        sheet.save(file, "PNG", optimize=True)
        return file.getvalue()
